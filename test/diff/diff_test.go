//go:build e2e

package diff

import (
	"context"
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/images"
)

// runTimeout bounds the pods of one agent, without the start of the bed.
const runTimeout = 5 * time.Minute

// TestSameAsKubelet runs every pod under both agents and compares.
func TestSameAsKubelet(t *testing.T) {
	list, err := ParseAccepted(strings.NewReader(differences))
	if err != nil {
		t.Fatalf("differences.txt: %v", err)
	}
	facts := map[string]map[string]Facts{}
	for _, agent := range []string{bed.Kubelet, bed.Nodeagent} {
		if !t.Run(agent, func(t *testing.T) { facts[agent] = factsOf(t, agent, nil) }) {
			t.Logf("not every pod settled under %s; what is known is compared all the same", agent)
		}
	}
	found := Compare(facts[bed.Kubelet], facts[bed.Nodeagent])
	unknown, stale := Judge(found, list)
	t.Logf("%d differences, %d of them unknown", len(found), len(unknown))
	if len(unknown) > 0 {
		unknown = seenAgain(t, unknown, list)
	}
	byPod := map[string][]string{}
	for _, d := range unknown {
		byPod[d.Pod] = append(byPod[d.Pod], d.String())
	}
	for pod, lines := range byPod {
		t.Run(pod, func(t *testing.T) { t.Errorf("differs from the kubelet:\n%s", strings.Join(lines, "\n")) })
	}
	if os.Getenv("NODEAGENT_DIFF_PODS") != "" {
		return // the list is for all pods
	}
	for _, a := range stale {
		t.Errorf("differences.txt:%d: %s (%s) no longer differs: remove the line", a.Line, a.Pattern, a.Kind)
	}
}

// seenAgain runs the pods that differ a second time and returns the differences
// that show both times. What shows once is the moment at which one of the agents
// was looked at; it is logged.
func seenAgain(t *testing.T, first []Difference, list []Accepted) []Difference {
	t.Helper()
	pods, again := map[string]bool{}, map[[2]string]bool{}
	for _, d := range first {
		pods[d.Pod] = true
	}
	facts := map[string]map[string]Facts{}
	for _, agent := range []string{bed.Kubelet, bed.Nodeagent} {
		t.Run(agent+" again", func(t *testing.T) { facts[agent] = run(t, agent, pods) })
	}
	unknown, _ := Judge(Compare(facts[bed.Kubelet], facts[bed.Nodeagent]), list)
	for _, d := range unknown {
		again[[2]string{d.Pod, d.Field}] = true
	}
	var both []Difference
	for _, d := range first {
		if again[[2]string{d.Pod, d.Field}] {
			both = append(both, d)
		} else {
			t.Logf("seen once only: %s: %s", d.Pod, d)
		}
	}
	return both
}

// factsOf runs the pods under an agent, or takes what was kept of a run before.
// With only, other pods are left out.
func factsOf(t *testing.T, agent string, only map[string]bool) map[string]Facts {
	t.Helper()
	kept := filepath.Join(os.Getenv("NODEAGENT_DIFF_DIR"), agent+".json")
	if os.Getenv("NODEAGENT_DIFF_REUSE") == agent {
		raw, err := os.ReadFile(kept)
		if err != nil {
			t.Fatal(err)
		}
		var all map[string]Facts
		if err := json.Unmarshal(raw, &all); err != nil {
			t.Fatal(err)
		}
		for pod := range all {
			if !wanted(t, pod, only) {
				delete(all, pod)
			}
		}
		return all
	}
	all := run(t, agent, only)
	if os.Getenv("NODEAGENT_DIFF_DIR") != "" {
		raw, err := json.MarshalIndent(all, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(kept, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// run starts a bed with the agent, and on it all pods at once.
func run(t *testing.T, agent string, only map[string]bool) map[string]Facts {
	t.Helper()
	b := bed.Start(t, bed.Options{Agent: agent})
	ctx, cancel := context.WithTimeout(t.Context(), runTimeout)
	defer cancel()
	names := prepare(t, b)
	cases, err := Cases(names, images.BusyboxName)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newCollector(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	begin := time.Now()
	type end struct {
		name  string
		facts Facts
		err   error
	}
	ends := make(chan end)
	started := 0
	for _, one := range cases {
		if !wanted(t, one.Pod.Name, only) {
			continue
		}
		started++
		go func() {
			facts, err := c.follow(ctx, one)
			ends <- end{one.Pod.Name, facts, err}
		}()
	}
	all := map[string]Facts{}
	for range started {
		e := <-ends
		if e.facts != nil {
			all[e.name] = e.facts
		}
		if e.err != nil {
			t.Errorf("%s: after %s: %v", e.name, time.Since(begin).Round(time.Second), e.err)
		}
	}
	t.Logf("%d pods under %s took %s", started, agent, time.Since(begin).Round(100*time.Millisecond))
	return all
}

func wanted(t *testing.T, pod string, only map[string]bool) bool {
	t.Helper()
	if only != nil {
		return only[pod]
	}
	pattern := os.Getenv("NODEAGENT_DIFF_PODS")
	if pattern == "" {
		return true
	}
	ok, err := path.Match(pattern, pod)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// prepare makes what the pods refer to: images and paths of the node. Images
// are called by the registry's name, which is that of every bed.
func prepare(t *testing.T, b *bed.Bed) Names {
	t.Helper()
	var digest v1.Hash
	for _, tag := range []string{"1", "2", "3"} {
		img, err := b.SmallImage(map[string]string{"bin/small" + tag: "#!/bin/sh\ntrap 'exit 0' TERM; sleep 3600 & wait\n"},
			v1.Config{Cmd: []string{"/bin/small" + tag}, Env: []string{"FROM=image", "PATH=/bin"}, WorkingDir: "/bin"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.PushImage(t.Context(), "x/small:"+tag, img); err != nil {
			t.Fatal(err)
		}
		if digest, err = img.Digest(); err != nil {
			t.Fatal(err)
		}
	}
	host := filepath.Join(b.Dir, "host")
	for _, dir := range []string{"any", "dir"} {
		if err := os.MkdirAll(filepath.Join(host, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Mounts pass between host and pod only where the host's are shared.
	if err := unix.Mount(host, host, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(host, unix.MNT_DETACH) })
	if err := unix.Mount("", host, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(host, "file"), []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Names{"REGISTRY": bed.RegistryHost, "HOST": host, "DIGEST": digest.String(), "BUSYBOX": images.BusyboxName}
}
