//go:build e2e

package statsdiff

import (
	_ "embed"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/diff"
)

// mostAgain bounds how many differences are looked at once more. More than that
// have a reason.
const mostAgain = 300

//go:embed differences.txt
var differences string

// TestSameStats fetches everything under both agents and compares.
func TestSameStats(t *testing.T) {
	list, err := diff.ParseAccepted(strings.NewReader(differences))
	must(t, "reading differences.txt", err)
	a := compared()
	if a.other == bed.Kubelet {
		list = nil
	}
	first, second := both(t, a, "")
	found := diff.Compare(first, second)
	unknown, stale := diff.Judge(found, list)
	count := 0
	for _, facts := range first {
		count += len(facts)
	}
	t.Logf("%d facts, %d differences, %d of them unknown", count, len(found), len(unknown))
	if len(unknown) > 0 && len(unknown) <= mostAgain && os.Getenv(reuseEnv) == "" {
		unknown = seenAgain(t, a, unknown, list)
	}
	by := map[string][]string{}
	for _, d := range unknown {
		by[d.Pod] = append(by[d.Pod], d.String())
	}
	for _, endpoint := range slices.Sorted(maps.Keys(by)) {
		t.Run(endpoint, func(t *testing.T) {
			t.Errorf("%d differences from the kubelet:\n%s", len(by[endpoint]), strings.Join(by[endpoint], "\n"))
		})
	}
	for _, a := range stale {
		t.Errorf("differences.txt:%d: %s (%s) no longer differs: remove the line", a.Line, a.Pattern, a.Kind)
	}
}

// both returns what the kubelet and the other agent tell.
func both(t *testing.T, a agents, again string) (first, second map[string]diff.Facts) {
	t.Helper()
	ok := t.Run(bed.Kubelet+again, func(t *testing.T) { first = factsOf(t, bed.Kubelet, bed.Kubelet+again) })
	ok = t.Run(a.name+again, func(t *testing.T) { second = factsOf(t, a.other, a.name+again) }) && ok
	if !ok {
		t.Error("not everything was fetched; what is known is compared all the same")
	}
	return first, second
}

// seenAgain does everything once more and returns the differences that show both
// times. What shows once is the moment at which an agent was asked; it is logged.
func seenAgain(t *testing.T, a agents, unknown []diff.Difference, list []diff.Accepted) []diff.Difference {
	t.Helper()
	first, second := both(t, a, " again")
	repeated, _ := diff.Judge(diff.Compare(first, second), list)
	again := map[[2]string]bool{}
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

// factsOf asks an agent, or takes what was kept of a run before.
func factsOf(t *testing.T, agent, name string) map[string]diff.Facts {
	t.Helper()
	dir := os.Getenv(dirEnv)
	kept := filepath.Join(dir, name+".json")
	if os.Getenv(reuseEnv) == name {
		raw, err := os.ReadFile(kept)
		must(t, "reading kept facts", err)
		var all map[string]diff.Facts
		must(t, "reading kept facts", json.Unmarshal(raw, &all))
		return all
	}
	keep := func(string, []byte) {}
	if dir != "" {
		keep = func(endpoint string, text []byte) {
			must(t, "keeping an answer", os.WriteFile(filepath.Join(dir, name+"."+endpoint+".txt"), text, 0o600))
		}
	}
	all := run(t, agent, keep)
	if dir != "" {
		raw, err := json.MarshalIndent(all, "", " ")
		must(t, "keeping facts", err)
		must(t, "keeping facts", os.WriteFile(kept, raw, 0o600))
	}
	return all
}
