//go:build vm

package vm

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
)

// columns are the settings that the table shows; the others are compared, too.
func columns() []string {
	return []string{
		"cpu.weight", "cpu.max", "memory.max", "memory.min", "memory.low", "memory.high", "memory.swap.max", "memory.oom.group",
		"pids.max", "hugetlb.2MB.max", "hugetlb.1GB.max",
	}
}

// compare shows what was seen under both agents, and fails where it differs.
func compare(t *testing.T, kubelet, nodeagent facts) {
	t.Logf("settings of cgroups; kubelet's | nodeagent's where they differ:\n%s", table(kubelet, nodeagent))
	all := maps.Clone(kubelet)
	maps.Copy(all, nodeagent)
	keys := slices.SortedFunc(maps.Keys(all), fact.compare)
	same, other := 0, &strings.Builder{}
	w := tabwriter.NewWriter(other, 0, 0, 2, ' ', 0)
	for _, k := range keys {
		if k.Area != "cgroup" {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.Area, k.Place, k.What, both(kubelet, nodeagent, k))
		}
		theirs, have := kubelet[k]
		ours, has := nodeagent[k]
		switch {
		case !have:
			t.Errorf("%s: %s: %s: only nodeagent has it: %q", k.Area, k.Place, k.What, ours)
		case !has:
			t.Errorf("%s: %s: %s: only the kubelet has it: %q", k.Area, k.Place, k.What, theirs)
		case theirs != ours:
			t.Errorf("%s: %s: %s: kubelet %q, nodeagent %q", k.Area, k.Place, k.What, theirs, ours)
		default:
			same++
		}
	}
	_ = w.Flush()
	t.Logf("what else was seen:\n%s", other)
	t.Logf("%d of %d facts are the same", same, len(keys))
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
