package admission

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	// criticalPriority is where the priorities of the system begin.
	criticalPriority = 2_000_000_000
	configSource     = "kubernetes.io/config.source"
	configMirror     = "kubernetes.io/config.mirror"
)

// Critical reports whether the node takes the pod even when others have to go
// for it: a static pod, or one with a priority of the system.
func Critical(p *corev1.Pod, static bool) bool {
	_, mirror := p.Annotations[configMirror]
	return static || mirror || p.Spec.Priority != nil && *p.Spec.Priority >= criticalPriority
}

// candidate is a pod that may be preempted, and what that would free.
type candidate struct {
	*Tenant
	frees amounts
}

// preempt chooses the pods that go for a critical one. Guaranteed pods are
// spared before burstable ones, and those before pods that were promised
// nothing; within a class few pods go rather than many, and small ones rather
// than big ones. It fails when even all of them would not be enough.
func (r *Rules) preempt(p *corev1.Pod, others []*Tenant, allocatable corev1.ResourceList) ([]*corev1.Pod, error) {
	rest := slices.Clone(others)
	var chosen []*corev1.Pod
	for {
		short := r.insufficient(p, rest, allocatable)
		if len(short) == 0 {
			return chosen, nil
		}
		// A second round is only needed when numbers are too big to be counted.
		more, err := choose(candidates(p, rest), short)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, more...)
		rest = slices.DeleteFunc(rest, func(o *Tenant) bool { return slices.Contains(more, o.pod) })
	}
}

// candidates are the pods that may go for p, by class, those that matter most
// first.
func candidates(p *corev1.Pod, others []*Tenant) [][]candidate {
	classes := []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort}
	byClass := make([][]candidate, len(classes))
	for _, o := range others {
		i := slices.Index(classes, pod.QOS(o.tame))
		if i < 0 || !mayGoFor(o.tame, p) {
			continue
		}
		frees := maps.Clone(o.used)
		frees[corev1.ResourcePods] = 1
		byClass[i] = append(byClass[i], candidate{o, frees})
	}
	for _, class := range byClass {
		slices.SortStableFunc(class, smaller)
	}
	return byClass
}

// mayGoFor reports whether a pod may be preempted by a critical one.
func mayGoFor(victim, critical *corev1.Pod) bool {
	source, known := victim.Annotations[configSource]
	if !Critical(victim, known && source != string(pod.SourceAPI)) {
		return true
	}
	a, b := critical.Spec.Priority, victim.Spec.Priority
	return a != nil && b != nil && *a > *b
}

// smaller orders pods that are equally good victims: what has the smaller
// requests goes first, then what has the lower priority.
func smaller(a, b candidate) int {
	priority := func(c candidate) int32 {
		if c.tame.Spec.Priority == nil {
			return 0
		}
		return *c.tame.Spec.Priority
	}
	return cmp.Or(
		cmp.Compare(a.frees[corev1.ResourceMemory], b.frees[corev1.ResourceMemory]),
		cmp.Compare(a.frees[corev1.ResourceCPU], b.frees[corev1.ResourceCPU]),
		cmp.Compare(priority(a), priority(b)),
		strings.Compare(a.pod.Namespace, b.pod.Namespace),
		strings.Compare(a.pod.Name, b.pod.Name),
		strings.Compare(string(a.pod.UID), string(b.pod.UID)),
	)
}

// need is how much of a resource has yet to be freed.
type need struct {
	name   corev1.ResourceName
	amount int64
}

// choose takes from each class only what all pods of the classes below it, and
// those already taken above it, would not free.
func choose(byClass [][]candidate, short []Shortage) ([]*corev1.Pod, error) {
	needs := make([]need, len(short))
	for i, s := range short {
		needs[i] = need{s.Name, s.missing()}
	}
	if left := after(needs, slices.Concat(byClass...)); len(left) > 0 {
		return nil, fmt.Errorf("preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: %s", list(left))
	}
	var victims []*corev1.Pod
	for i, class := range byClass {
		taken := fewest(class, after(needs, slices.Concat(byClass[i+1:]...)))
		needs = after(needs, taken)
		pods := make([]*corev1.Pod, len(taken))
		for j, t := range taken {
			pods[j] = t.pod
		}
		victims = slices.Insert(victims, 0, pods...)
	}
	return victims, nil
}

// fewest takes, again and again, the pod that frees most of what is needed, each
// resource weighing the same.
func fewest(class []candidate, needs []need) []candidate {
	left := slices.Clone(class)
	var taken []candidate
	for len(needs) > 0 && len(left) > 0 {
		best := 0
		for i := range left {
			if distance(left[i], needs) < distance(left[best], needs) {
				best = i
			}
		}
		taken = append(taken, left[best])
		needs = after(needs, left[best:best+1])
		left = slices.Delete(left, best, best+1)
	}
	return taken
}

// distance is how far a pod alone is from what is needed: the sum of the squares
// of the parts that it leaves.
func distance(c candidate, needs []need) float64 {
	sum := 0.0
	for _, n := range needs {
		if left := minus(n.amount, c.frees[n.name]); left > 0 {
			part := float64(left) / float64(n.amount)
			sum += part * part
		}
	}
	return sum
}

// after is what is still needed when the pods are gone.
func after(needs []need, gone []candidate) []need {
	var left []need
	for _, n := range needs {
		for _, c := range gone {
			n.amount = minus(n.amount, min(n.amount, c.frees[n.name]))
		}
		if n.amount > 0 {
			left = append(left, n)
		}
	}
	return left
}

// list is the kubelet's way to write down what is needed.
func list(needs []need) string {
	var b strings.Builder
	b.WriteString("[")
	for _, n := range needs {
		fmt.Fprintf(&b, "(res: %v, q: %d), ", n.name, n.amount)
	}
	b.WriteString("]")
	return b.String()
}
