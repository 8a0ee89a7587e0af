package containerspec

import (
	"math/bits"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	oomGuaranteed = -997
	oomBestEffort = 1000
	// criticalPriority is where system-critical priorities begin.
	criticalPriority = 2_000_000_000
	nodeCriticalName = "system-node-critical"
	configSource     = "kubernetes.io/config.source"
	configMirror     = "kubernetes.io/config.mirror"
)

// oomScoreAdj makes the kernel kill first what uses more memory than it asked
// for (kubelet: qos/policy.go). capacity is the node's memory in bytes; zero
// means unknown and gives a burstable container the middle of its range.
func oomScoreAdj(p *corev1.Pod, c *corev1.Container, capacity int64) int64 {
	if nodeCritical(p) {
		return oomGuaranteed
	}
	switch pod.QOS(p) {
	case corev1.PodQOSGuaranteed:
		return oomGuaranteed
	case corev1.PodQOSBestEffort:
		return oomBestEffort
	case corev1.PodQOSBurstable:
	}
	if capacity <= 0 {
		return (1000 + oomGuaranteed + oomBestEffort) / 2
	}
	share := spareRequest(p)
	score := func(request int64) int64 { return 1000 - perMille(add(request, share), capacity) }
	adj := score(c.Resources.Requests.Memory().Value())
	if _, kind := pod.Find(p, c.Name); kind == pod.KindSidecar && len(p.Spec.Containers) > 0 {
		least := p.Spec.Containers[0].Resources.Requests.Memory().Value()
		for i := range p.Spec.Containers {
			least = min(least, p.Spec.Containers[i].Resources.Requests.Memory().Value())
		}
		adj = min(adj, score(least))
	}
	// Worse than guaranteed pods, better than best-effort ones.
	if adj < 1000+oomGuaranteed {
		return 1000 + oomGuaranteed
	}
	return min(adj, oomBestEffort-1)
}

// perMille is part's share of the whole, at most all of it.
func perMille(part, whole int64) int64 {
	switch {
	case part <= 0:
		return 0
	case part >= whole:
		return 1000
	}
	high, low := bits.Mul64(uint64(part), 1000)
	share, _ := bits.Div64(high, low, uint64(whole)) // less than 1000, as part is less than whole
	return int64(share)                              // #nosec G115 -- small
}

// spareRequest is each container's part of a pod-level memory request that no
// container asks for.
func spareRequest(p *corev1.Pod) int64 {
	if !resourcehelper.IsPodLevelRequestsSet(p) || p.Spec.Resources.Requests.Memory().IsZero() {
		return 0
	}
	asked := resourcehelper.AggregateContainerRequests(p, resourcehelper.PodResourcesOptions{})
	spare := max(max(p.Spec.Resources.Requests.Memory().Value(), 0)-max(asked.Memory().Value(), 0), 0)
	return spare / int64(max(len(p.Spec.Containers)+len(p.Spec.InitContainers), 1))
}

// critical pods are not evicted, and do not swap.
func critical(p *corev1.Pod) bool {
	source, known := p.Annotations[configSource]
	_, mirror := p.Annotations[configMirror]
	static := known && source != "api"
	return static || mirror || p.Spec.Priority != nil && *p.Spec.Priority >= criticalPriority
}

func nodeCritical(p *corev1.Pod) bool {
	return p.Spec.PriorityClassName == nodeCriticalName && critical(p)
}
