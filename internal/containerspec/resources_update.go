package containerspec

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// UpdatedResources are what the runtime is told of a running container that is
// resized: all there is to say of its resources, those that stay too. p is the pod
// as it is allocated; c's resources are what it is to have now, huge pages too (the
// kubelet loses those here). A container without a CPU request gets the least,
// where a new one gets its limit: that is what the kubelet sends.
func UpdatedResources(p *corev1.Pod, c *corev1.Container, node Node) *runtimeapi.LinuxContainerResources {
	resized := *c
	resized.Resources.Requests = listed(c.Resources.Requests)
	return containerResources(p, &resized, &node)
}

// listed has CPU in any case.
func listed(list corev1.ResourceList) corev1.ResourceList {
	if _, ok := list[corev1.ResourceCPU]; ok {
		return list
	}
	list = maps.Clone(list)
	if list == nil {
		list = corev1.ResourceList{}
	}
	list[corev1.ResourceCPU] = resource.Quantity{}
	return list
}

// UpdatedSandbox is what the runtime is told of the pod's sandbox when the pod's
// cgroup gets other limits, before they are set: the runtime may refuse.
func UpdatedSandbox(p *corev1.Pod, l pod.CgroupLimits, node Node) (overhead, resources *runtimeapi.LinuxContainerResources) {
	cpu, memory := p.Spec.Overhead.Cpu().MilliValue(), p.Spec.Overhead.Memory().Value()
	if l.CPUQuota > 0 && l.CPUPeriod > 0 {
		l.CPUQuota = max(l.CPUQuota-Quota(cpu, time.Duration(l.CPUPeriod)*time.Microsecond), minQuota)
	}
	if l.CPUShares > 0 && cpu != 0 {
		l.CPUShares = Shares(MilliCPU(l.CPUShares) - cpu)
	}
	if l.Memory > 0 {
		l.Memory = max(l.Memory-max(memory, 0), 0)
	}
	return overheadOf(p, &node), &runtimeapi.LinuxContainerResources{
		CpuPeriod: l.CPUPeriod, CpuQuota: l.CPUQuota, CpuShares: l.CPUShares, MemoryLimitInBytes: l.Memory, Unified: maps.Clone(l.Unified),
	}
}

// MilliCPU is the CPU that shares stand for, in thousandths and rounded up.
func MilliCPU(shares int64) int64 {
	return (min(shares, maxShares)*milliPerCPU + sharesPerCPU - 1) / sharesPerCPU
}

// overheadOf is what a pod's runtime class adds to it, as limits and as requests.
func overheadOf(p *corev1.Pod, node *Node) *runtimeapi.LinuxContainerResources {
	if p.Spec.Overhead == nil {
		return &runtimeapi.LinuxContainerResources{}
	}
	cpu, memory := p.Spec.Overhead.Cpu().MilliValue(), p.Spec.Overhead.Memory().Value()
	return linuxResources(cpu, cpu, memory, node)
}
