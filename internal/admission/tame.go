package admission

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// absurdExponent is a power of ten far beyond anything that can be counted.
// Quantities may have exponents of nine digits, and calculating with one of those
// takes minutes.
const absurdExponent = 40

// absurd reports whether a quantity has a digit at 10^40 or above for the sake
// of its exponent, not of its length.
func absurd(q resource.Quantity) bool {
	if q.Sign() == 0 {
		return false
	}
	if _, small := q.AsInt64(); small {
		return false
	}
	own := q.DeepCopy()
	return own.AsDec().Scale() < -absurdExponent
}

// tame returns the pod with its absurd quantities replaced by the largest that
// can be counted; a pod that has none is returned as it is.
func tame(p *corev1.Pod) *corev1.Pod {
	found := false
	eachQuantity(p, func(q resource.Quantity) (resource.Quantity, bool) {
		found = found || absurd(q)
		return q, false
	})
	if !found {
		return p
	}
	p = p.DeepCopy()
	eachQuantity(p, func(q resource.Quantity) (resource.Quantity, bool) {
		if !absurd(q) {
			return q, false
		}
		return *resource.NewQuantity(int64(q.Sign())*math.MaxInt64, q.Format), true
	})
	return p
}

// eachQuantity passes every quantity that the rules calculate with to edit, and
// writes back what edit says is changed.
func eachQuantity(p *corev1.Pod, edit func(resource.Quantity) (resource.Quantity, bool)) {
	lists := func(all ...corev1.ResourceList) {
		for _, list := range all {
			for name, q := range list {
				if changed, is := edit(q); is {
					list[name] = changed
				}
			}
		}
	}
	requirements := func(r *corev1.ResourceRequirements) {
		if r != nil {
			lists(r.Requests, r.Limits)
		}
	}
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			requirements(&containers[i].Resources)
		}
	}
	for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range statuses {
			lists(statuses[i].AllocatedResources)
			requirements(statuses[i].Resources)
		}
	}
	requirements(p.Spec.Resources)
	requirements(p.Status.Resources)
	lists(p.Spec.Overhead, p.Status.AllocatedResources)
	eachClaimed(p, func(q *resource.Quantity) {
		if q == nil {
			return
		}
		if changed, is := edit(*q); is {
			*q = changed
		}
	})
}

// eachClaimed is the quantities that resource claims take from the node.
func eachClaimed(p *corev1.Pod, edit func(*resource.Quantity)) {
	for i := range p.Status.NodeAllocatableResourceClaimStatuses {
		claim := &p.Status.NodeAllocatableResourceClaimStatuses[i]
		for j := range claim.Mapping {
			edit(claim.Mapping[j].Quantity)
		}
		for j := range claim.Overhead {
			edit(claim.Overhead[j].PerPod)
			edit(claim.Overhead[j].PerContainer)
		}
	}
}
