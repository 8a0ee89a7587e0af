package containerspec

import (
	"cmp"
	"math"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"nodeagent.dev/nodeagent/internal/pod"
)

const defaultPageSize = 4096

// swapLimit is how many bytes a container may swap. With LimitedSwap that is its
// part of the node's swap, but nothing for pods that matter most or least, and for
// a container whose memory is all requested. (kubelet:
// kuberuntime_container_linux.go)
func swapLimit(p *corev1.Pod, c *corev1.Container, node *Node) int64 {
	request, limit := c.Resources.Requests.Memory(), c.Resources.Limits.Memory()
	asked, capacity := request.Value(), node.MemoryCapacity
	switch {
	case !node.Memory.LimitedSwap, critical(p), pod.QOS(p) != corev1.PodQOSBurstable, request.Cmp(*limit) == 0:
		return 0
	case capacity <= 0, asked <= 0, asked > capacity:
		return 0
	}
	swap := float64(asked) / float64(capacity) * float64(max(node.Memory.SwapCapacity, 0))
	return whole(swap)
}

// whole is the number below, and the largest there is for what is larger.
func whole(f float64) int64 {
	switch {
	case !(f > 0):
		return 0
	case f >= math.MaxInt64:
		return math.MaxInt64
	}
	return int64(f)
}

// memoryQoS are the files of cgroup v2 that protect a container's memory and slow
// it down. All are written, so that a resize takes back what was set under
// another configuration.
func memoryQoS(p *corev1.Pod, c *corev1.Container, node *Node) map[string]string {
	if node.NoMemoryQoS {
		return map[string]string{"memory.high": "max"}
	}
	request, limit := c.Resources.Requests.Memory().Value(), c.Resources.Limits.Memory().Value()
	files := map[string]string{}
	switch {
	case !node.Memory.TieredReservation || request <= 0:
		files["memory.min"], files["memory.low"] = "0", "0"
	case pod.QOS(p) == corev1.PodQOSGuaranteed:
		files["memory.min"] = strconv.FormatInt(request, 10)
	default:
		files["memory.low"] = strconv.FormatInt(request, 10)
	}
	if high := memoryHigh(p, request, limit, node); high > 0 {
		files["memory.high"] = strconv.FormatInt(high, 10)
	}
	return files
}

// memoryHigh is where a container begins to be slowed down: the factor's way from
// its request to its limit, or to what the node has, in whole pages. Zero is
// nowhere: where there is no such way, and where the pod's own limit does it.
func memoryHigh(p *corev1.Pod, request, limit int64, node *Node) int64 {
	factor := node.Memory.ThrottlingFactor
	if factor == nil || request == limit && request != 0 {
		return 0
	}
	if limit == 0 {
		if resourcehelper.IsPodLevelResourcesSet(p) && !p.Spec.Resources.Limits.Memory().IsZero() {
			return 0
		}
		limit = node.Memory.Allocatable
	}
	if limit <= 0 {
		return 0
	}
	page := cmp.Or(node.Memory.PageSize, defaultPageSize)
	if page < 0 {
		return 0
	}
	high := whole((float64(request) + (float64(limit)-float64(request))**factor) / float64(page))
	if high > math.MaxInt64/page {
		return 0
	}
	if high *= page; high <= request {
		return 0
	}
	return high
}
