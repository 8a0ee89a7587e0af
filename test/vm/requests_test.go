//go:build vm

package vm

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/build"
	"nodeagent.dev/nodeagent/test/cridiff"
	"nodeagent.dev/nodeagent/test/diff"
	"nodeagent.dev/nodeagent/test/vm/machine"
)

const (
	// recorderSocket is where the agents of TestRequests find their runtime.
	recorderSocket = "/run/cridiff.sock"
	recorderResult = "/root/requests.json"
	// recorderTime bounds all pods of the corpus under one agent.
	recorderTime = 60 * time.Minute
	// slowness is how many times longer than usual things take in the machine. It
	// is no factor of what is compared: only of how long silence has to be.
	slowness = 25
	// largest is the most memory that a pod of the corpus may request here: the
	// three that request more do not fit into the machine beside the others.
	largest = "700Mi"
	// Of the pods about cgroups all are run, of the others one in sampled: a
	// kubelet with two hundred pods does not get to new ones in the machine.
	sampled, whole = 4, "res-,resize-,static-,class-,sandbox-"
	// enough is how many pods have to be compared at least.
	enough = 80
)

//go:embed requests.txt
var requests string

var corpusOnly = flag.String("corpus", "", "prefixes of the names of the pods that TestRequests runs, with commas between, instead of its own choice")

// TestRequests compares what the agents ask the runtime for on a node with
// cgroup v2 and systemd, as test/cridiff does on one with cgroup v1: the same
// pods, the same list of what may differ.
func TestRequests(t *testing.T) {
	seen := map[string]*cridiff.Result{}
	for _, agent := range []string{bed.Kubelet, bed.Nodeagent} {
		if !wanted(agent) {
			seen[agent] = loadRequests(t, agent)
			continue
		}
		t.Run(agent, func(t *testing.T) {
			raw := record(t, agent)
			if *factsDir != "" {
				must(t, "keeping the requests", os.MkdirAll(*factsDir, 0o755))
				must(t, "keeping the requests", os.WriteFile(requestsFile(agent), []byte(raw), 0o644))
			}
			seen[agent] = &cridiff.Result{}
			must(t, "reading the requests", json.Unmarshal([]byte(raw), seen[agent]))
			if n := len(seen[agent].Pods); n < enough && *corpusOnly == "" {
				t.Errorf("%d pods were given to %s, want %d or more", n, agent, enough)
			}
		})
	}
	if seen[bed.Kubelet] == nil || seen[bed.Nodeagent] == nil {
		return
	}
	for _, missing := range seen[bed.Kubelet].Missing {
		t.Errorf("the kubelet did not make what the corpus expects: %s", missing)
	}
	list, err := cridiff.Accepted()
	must(t, "reading what may differ", err)
	for i := range list {
		list[i].Sometimes = true // on v1 it may explain something
	}
	own, err := diff.ParseAccepted(strings.NewReader(requests))
	must(t, "reading requests.txt", err)
	verdict := cridiff.Judge(seen[bed.Kubelet], seen[bed.Nodeagent], append(list, own...))
	t.Log(verdict.Summary())
	for _, a := range verdict.Stale {
		if *corpusOnly != "" {
			break // the list is for the usual choice
		}
		t.Errorf("requests.txt:%d: %s (%s) no longer differs: remove the line", a.Line, a.Pattern, a.Kind)
	}
	pods, _ := verdict.Problems()
	for pod, lines := range pods {
		t.Run(pod, func(t *testing.T) { t.Errorf("differs from the kubelet:\n%s", lines) })
	}
}

func requestsFile(agent string) string { return filepath.Join(*factsDir, agent+"-requests.json") }

// loadRequests reads what an earlier run kept; nil when there was none.
func loadRequests(t *testing.T, agent string) *cridiff.Result {
	t.Helper()
	raw, err := os.ReadFile(requestsFile(agent))
	if *factsDir == "" || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	must(t, "reading the requests", err)
	result := &cridiff.Result{}
	must(t, "reading the requests", json.Unmarshal(raw, result))
	return result
}

// record gives the corpus to an agent in a machine of its own, and returns what
// the recorder in there wrote.
func record(t *testing.T, agent string) string {
	t.Helper()
	begin := time.Now()
	n := up(t, Options{
		Agent: agent,
		Config: func(config map[string]any) {
			config["containerRuntimeEndpoint"] = "unix://" + recorderSocket
			cridiff.Configure(config)
			// Its containers write no logs, about which the kubelet would ask often.
			config["containerLogMonitorInterval"], config["makeIPTablesUtilChains"] = "1h", false
		},
		Before: startRecorder,
	})
	last := ""
	eventually(t, "the recorder has seen all requests", recorderTime, func() string {
		state := n.sh(t, "systemctl show -P SubState cridiff; journalctl -q -o cat -u cridiff -n 5")
		state, said, _ := strings.Cut(state, "\n")
		if said != last {
			last = said
			t.Logf("after %s the recorder says:\n%s", time.Since(begin).Round(time.Second), said)
		}
		switch state {
		case "exited":
			return ""
		case "failed":
			t.Fatalf("the recorder has failed:\n%s", n.sh(t, "journalctl -q -o cat -u cridiff -n 60"))
		}
		return "it is " + state + ", and said at last: " + said
	})
	t.Logf("the corpus took %s", time.Since(begin).Round(time.Second))
	return n.sh(t, "cat "+recorderResult)
}

// startRecorder starts the runtime that writes down what it is asked for.
func startRecorder(ctx context.Context, n *Node) error {
	builder, err := build.New(os.Stderr)
	if err != nil {
		return fmt.Errorf("build the recorder: %w", err)
	}
	program, err := builder.Program(ctx, "./test/cridiff/cmd/cridiff", "cridiff-vm", "-s -w")
	if err != nil {
		return fmt.Errorf("build the recorder: %w", err)
	}
	admin, err := n.kubeconfig("admin")
	if err != nil {
		return err
	}
	const kubeconfig = "/root/admin.conf"
	err = n.Machine.Put(ctx,
		machine.File{Path: "/usr/local/bin/cridiff", From: program, Mode: 0o755},
		machine.File{Path: kubeconfig, Content: admin, Mode: 0o600})
	if err != nil {
		return fmt.Errorf("install the recorder: %w", err)
	}
	part, prefixes := sampled, whole
	if *corpusOnly != "" {
		part, prefixes = 1<<20, *corpusOnly
	}
	command := slices.Concat(
		// It stays loaded when it has ended, so that it can be asked how.
		[]string{"systemd-run", "--quiet", "--unit=cridiff", "--property=RemainAfterExit=yes", "/usr/local/bin/cridiff"},
		[]string{"--agent=" + n.Agent, "--out=" + recorderResult, "--socket=" + recorderSocket, "--driver=systemd"},
		[]string{"--kubeconfig=" + kubeconfig, "--node=" + n.Bed.NodeName, "--manifests=" + ManifestDir},
		[]string{"--replace=" + n.Bed.NodeIP + "=\\$NODEIP", "--memory=" + largest},
		[]string{fmt.Sprintf("--slowness=%d", slowness), fmt.Sprintf("--every=%d", part), "--whole=" + prefixes},
	)
	// Containers of the fake are no processes. systemd takes the cpuset controller
	// away from slices in which nobody needs it, and agents take that for a pod whose
	// cgroup is gone: somebody has to need it, as real containers do.
	const holders = `
set -e
for class in burstable besteffort; do
	systemd-run --quiet --unit=holder-$class --slice=kubepods-$class.slice --property=Delegate=yes sleep infinity
done
`
	// The agent would only try again if it came first, but later and later.
	const listens = `
for i in $(seq 600); do
	test -S ` + recorderSocket + ` && exit 0
	systemctl is-failed -q cridiff && break
	sleep 0.2
done
echo "the recorder does not listen:"; journalctl -q -o cat -u cridiff -n 20; exit 1`
	if _, err := n.Machine.Run(ctx, holders+strings.Join(command, " ")+listens); err != nil {
		return fmt.Errorf("start the recorder: %w", err)
	}
	return nil
}
