//go:build vm

package vm

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"

	"nodeagent.dev/nodeagent/test/diff"
)

// columns are the settings that the table shows; the others are compared, too.
func columns() []string {
	return []string{
		"cpu.weight", "cpu.max", "memory.max", "memory.min", "memory.low", "memory.high", "memory.swap.max", "memory.oom.group",
		"pids.max", "hugetlb.2MB.max", "hugetlb.1GB.max",
	}
}

//go:embed differences.txt
var differences string

// compare shows what was seen under both agents, and fails where it differs and
// differences.txt does not say why.
func compare(t *testing.T, kubelet, nodeagent facts) {
	t.Logf("settings of cgroups; kubelet's | nodeagent's where they differ:\n%s", table(kubelet, nodeagent))
	list, err := diff.ParseAccepted(strings.NewReader(differences))
	must(t, "reading differences.txt", err)
	all := maps.Clone(kubelet)
	maps.Copy(all, nodeagent)
	other := &strings.Builder{}
	w := tabwriter.NewWriter(other, 0, 0, 2, ' ', 0)
	for _, k := range slices.SortedFunc(maps.Keys(all), fact.compare) {
		if k.Area != "cgroup" {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.Area, k.Place, k.What, both(kubelet, nodeagent, k))
		}
	}
	_ = w.Flush()
	t.Logf("what else was seen:\n%s", other)
	found := diff.Compare(kubelet.byArea(), nodeagent.byArea())
	unknown, stale := diff.Judge(found, list)
	for _, d := range unknown {
		t.Errorf("%s: %s", d.Pod, strings.TrimSpace(d.String()))
	}
	for _, a := range stale {
		t.Errorf("differences.txt:%d: %s (%s) no longer differs: remove the line", a.Line, a.Pattern, a.Kind)
	}
	t.Logf("%d of %d facts are the same, %d differ without a reason", len(all)-len(found), len(all), len(unknown))
}

// byArea is how package diff wants them; a field is "PLACE: WHAT".
func (f facts) byArea() map[string]diff.Facts {
	areas := map[string]diff.Facts{}
	for k, value := range f {
		if areas[k.Area] == nil {
			areas[k.Area] = diff.Facts{}
		}
		areas[k.Area][k.Place+": "+k.What] = value
	}
	return areas
}

// table has a line for each cgroup.
func table(kubelet, nodeagent facts) string {
	places := map[string]bool{}
	for _, f := range []facts{kubelet, nodeagent} {
		for k := range f {
			if k.Area == "cgroup" {
				places[k.Place] = true
			}
		}
	}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "cgroup\t%s\n", strings.Join(columns(), "\t"))
	for _, place := range slices.Sorted(maps.Keys(places)) {
		cells := []string{place}
		for _, file := range columns() {
			cells = append(cells, both(kubelet, nodeagent, fact{"cgroup", place, file}))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush()
	return text.String()
}

// both is the value under both agents, or the two when they differ.
func both(kubelet, nodeagent facts, k fact) string {
	theirs, ours := readable(kubelet, k), readable(nodeagent, k)
	if theirs == ours {
		return theirs
	}
	return theirs + " | " + ours
}

// readable is a value as people write it: bytes in Mi or Ki.
func readable(f facts, k fact) string {
	value, ok := f[k]
	if !ok {
		return "-"
	}
	n, err := strconv.ParseInt(value, 10, 64)
	bytes := strings.HasPrefix(k.What, "memory.") || strings.HasPrefix(k.What, "hugetlb.")
	switch {
	case err != nil || n == 0 || !bytes || k.What == "memory.oom.group":
		return value
	case n%(1<<20) == 0:
		return strconv.FormatInt(n>>20, 10) + "Mi"
	case n%(1<<10) == 0:
		return strconv.FormatInt(n>>10, 10) + "Ki"
	default:
		return value
	}
}
