package diff

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Kind says in which way a field differs.
type Kind string

// The kinds of difference.
const (
	KubeletOnly   Kind = "kubelet only"
	NodeagentOnly Kind = "nodeagent only"
	ValuesDiffer  Kind = "values differ"
)

// Difference is one field of one pod that is not the same under both agents.
type Difference struct {
	Pod, Field         string
	Kind               Kind
	Kubelet, Nodeagent string
}

// String shows the difference to people.
func (d Difference) String() string {
	show := func(has bool, value string) string {
		if !has {
			return "(none)"
		}
		return strings.ReplaceAll(value, "\n", "\n               ")
	}
	return fmt.Sprintf("  %s\n    kubelet    %s\n    nodeagent  %s", d.Field,
		show(d.Kind != NodeagentOnly, d.Kubelet), show(d.Kind != KubeletOnly, d.Nodeagent))
}

// Compare lists the differences of all pods, by pod and field.
func Compare(kubelet, nodeagent map[string]Facts) []Difference {
	var all []Difference
	pods := maps.Clone(kubelet)
	maps.Copy(pods, nodeagent)
	for _, pod := range slices.Sorted(maps.Keys(pods)) {
		all = append(all, compareOne(pod, kubelet[pod], nodeagent[pod])...)
	}
	return all
}

func compareOne(pod string, kubelet, nodeagent Facts) []Difference {
	var all []Difference
	for field, k := range kubelet {
		n, has := nodeagent[field]
		switch {
		case !has:
			all = append(all, Difference{Pod: pod, Field: field, Kind: KubeletOnly, Kubelet: k})
		case n != k:
			all = append(all, Difference{Pod: pod, Field: field, Kind: ValuesDiffer, Kubelet: k, Nodeagent: n})
		}
	}
	for field, n := range nodeagent {
		if _, has := kubelet[field]; !has {
			all = append(all, Difference{Pod: pod, Field: field, Kind: NodeagentOnly, Nodeagent: n})
		}
	}
	slices.SortFunc(all, func(a, b Difference) int { return cmp.Compare(a.Field, b.Field) })
	return all
}
