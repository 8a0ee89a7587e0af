package source

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Merge combines the newest set of each source. It does no I/O, keeps no clock
// and is not safe for concurrent use.
type Merge struct {
	order []pod.SourceName
	sets  map[pod.SourceName][]*corev1.Pod
}

// NewMerge expects the named sources. The order is the rank: where two sources
// want the same identity, the one named first wins.
func NewMerge(names ...pod.SourceName) *Merge {
	return &Merge{order: slices.Clone(names), sets: make(map[pod.SourceName][]*corev1.Pod, len(names))}
}

// Set replaces what a source wants. A set of a source that was not announced is
// ignored: nobody could tell its rank.
func (m *Merge) Set(name pod.SourceName, pods []*corev1.Pod) {
	if slices.Contains(m.order, name) {
		m.sets[name] = pods
	}
}

// Desired is the combination of the sets so far. Equal sets lead to equal
// results, whatever order they came in.
func (m *Merge) Desired() pod.Desired {
	d := pod.Desired{Synced: true}
	most := 0
	for _, set := range m.sets {
		most += len(set)
	}
	d.Specs = make([]pod.Spec, 0, most)
	byUID := make(map[types.UID]int, most) // indexes of d.Specs
	byName := make(map[types.NamespacedName]int, most)
	for _, name := range m.order {
		set, heard := m.sets[name]
		if !heard {
			d.Synced = false
			continue
		}
		for _, p := range sorted(set) {
			s := pod.Spec{Pod: p, Source: name}
			full := types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
			if other, taken := byUID[p.UID]; taken {
				d.Conflicts = append(d.Conflicts, conflict(s, d.Specs[other], "UID "+string(p.UID)))
				continue
			}
			if other, taken := byName[full]; taken {
				d.Conflicts = append(d.Conflicts, conflict(s, d.Specs[other], "name"))
				continue
			}
			byUID[p.UID], byName[full] = len(d.Specs), len(d.Specs)
			d.Specs = append(d.Specs, s)
		}
	}
	slices.SortFunc(d.Specs, func(a, b pod.Spec) int { return compare(a.Pod, b.Pod) })
	return d
}

// sorted puts the pods into one order, so that the winner among equals of one
// source does not depend on how the source happened to list them. The newest
// object comes first: a pod that was deleted and made again is the new one.
func sorted(pods []*corev1.Pod) []*corev1.Pod {
	pods = slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return p == nil })
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name),
			b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.UID, b.UID))
	})
	return pods
}

func compare(a, b *corev1.Pod) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
}

func conflict(lost, won pod.Spec, what string) string {
	return fmt.Sprintf("pod %s (UID %s) of source %q is left out: pod %s (UID %s) of source %q has the same %s",
		pod.RefOf(lost.Pod), lost.Pod.UID, lost.Source, pod.RefOf(won.Pod), won.Pod.UID, won.Source, what)
}
