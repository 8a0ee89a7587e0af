//go:build e2e

package volumediff

import (
	_ "embed"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
	"nodeagent.dev/nodeagent/test/diff"
)

// Environment variables, see the package.
const (
	podsEnv  = "NODEAGENT_VOLUMEDIFF_PODS"
	dirEnv   = "NODEAGENT_VOLUMEDIFF_DIR"
	reuseEnv = "NODEAGENT_VOLUMEDIFF_REUSE"
	agentEnv = "NODEAGENT_VOLUMEDIFF_AGENT"
)

//go:embed differences.txt
var differences string

// agents are who is compared, by the names under which their facts are kept.
type agents struct{ other, name string }

func compared() agents {
	switch other := os.Getenv(agentEnv); other {
	case "":
		return agents{bed.Nodeagent, bed.Nodeagent}
	case bed.Kubelet:
		return agents{other, "kubelet-again"}
	default:
		return agents{other, other}
	}
}

// TestSameVolumes runs every pod under both agents and compares what they see.
func TestSameVolumes(t *testing.T) {
	list, err := diff.ParseAccepted(strings.NewReader(differences))
	bedtest.Must(t, "reading differences.txt", err)
	a := compared()
	if a.other == bed.Kubelet {
		list = nil
	}
	first, second := both(t, a, nil)
	found := diff.Compare(first, second)
	unknown, stale := diff.Judge(found, list)
	count := 0
	for _, facts := range first {
		count += len(facts)
	}
	t.Logf("%d pods, %d facts, %d differences, %d of them unknown", len(first), count, len(found), len(unknown))
	if len(unknown) > 0 {
		unknown = seenAgain(t, a, unknown, list)
	}
	byPod := map[string][]string{}
	for _, d := range unknown {
		byPod[d.Pod] = append(byPod[d.Pod], d.String())
	}
	for pod, lines := range byPod {
		t.Run(pod, func(t *testing.T) { t.Errorf("differs from the kubelet:\n%s", strings.Join(lines, "\n")) })
	}
	if os.Getenv(podsEnv) != "" {
		return // the list is for all pods
	}
	for _, a := range stale {
		t.Errorf("differences.txt:%d: %s (%s) no longer differs: remove the line", a.Line, a.Pattern, a.Kind)
	}
}

// both returns what is seen under the kubelet and the other agent. With only,
// other pods are left out and nothing is kept.
func both(t *testing.T, a agents, only map[string]bool) (first, second map[string]diff.Facts) {
	t.Helper()
	again := ""
	if only != nil {
		again = " once more"
	}
	first, second = map[string]diff.Facts{}, map[string]diff.Facts{} // where one is left out by -run
	ok := t.Run(bed.Kubelet+again, func(t *testing.T) { first = factsOf(t, bed.Kubelet, bed.Kubelet, only) })
	ok = t.Run(a.name+again, func(t *testing.T) { second = factsOf(t, a.other, a.name, only) }) && ok
	if !ok {
		t.Error("not all pods settled; what is known is compared all the same")
	}
	return first, second
}

// mostAgain bounds how many pods are run a second time. More than that differ for
// a reason.
const mostAgain = 25

// seenAgain runs the pods that differ a second time and returns the differences
// that show both times. What shows once is the moment at which one of the agents
// was looked at; it is logged.
func seenAgain(t *testing.T, a agents, unknown []diff.Difference, list []diff.Accepted) []diff.Difference {
	t.Helper()
	pods, again := map[string]bool{}, map[[2]string]bool{}
	for _, d := range unknown {
		pods[d.Pod] = true
	}
	if len(pods) > mostAgain {
		return unknown
	}
	first, second := both(t, a, pods)
	repeated, _ := diff.Judge(diff.Compare(first, second), list)
	for _, d := range repeated {
		again[[2]string{d.Pod, d.Field}] = true
	}
	return slices.DeleteFunc(unknown, func(d diff.Difference) bool {
		once := !again[[2]string{d.Pod, d.Field}]
		if once {
			t.Logf("seen once only: %s: %s", d.Pod, d)
		}
		return once
	})
}

// factsOf runs the pods under an agent, or takes what was kept of a run before.
func factsOf(t *testing.T, agent, name string, only map[string]bool) map[string]diff.Facts {
	t.Helper()
	kept := filepath.Join(os.Getenv(dirEnv), name+".json")
	if os.Getenv(reuseEnv) == name && only == nil {
		raw, err := os.ReadFile(kept)
		bedtest.Must(t, "reading kept facts", err)
		var all map[string]diff.Facts
		bedtest.Must(t, "reading kept facts", json.Unmarshal(raw, &all))
		return all
	}
	all, unsettled := run(t, agent, only)
	for _, pod := range unsettled {
		t.Errorf("pod %s did not settle: %v", pod, all[pod])
	}
	if agent == bed.Kubelet {
		runAsMeant(t, all)
	}
	if os.Getenv(dirEnv) != "" && only == nil {
		raw, err := json.MarshalIndent(all, "", " ")
		bedtest.Must(t, "keeping facts", err)
		bedtest.Must(t, "keeping facts", os.WriteFile(kept, raw, 0o600))
	}
	return all
}

// runAsMeant checks that pods run under the kubelet which have to, and no others.
func runAsMeant(t *testing.T, all map[string]diff.Facts) {
	t.Helper()
	for pod, facts := range all {
		ran := strings.TrimSpace(facts["phase"]) == "Succeeded"
		if fails := strings.HasPrefix(pod, "no-"); ran == fails {
			t.Errorf("pod %s under the kubelet: ran %v, was to fail %v: %v", pod, ran, fails, facts)
		}
	}
}
