package containerspec

import (
	"cmp"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Amounts are what a resize can change of a container: CPU in thousandths, memory
// in bytes. Zero is none.
type Amounts struct {
	CPURequest, CPULimit, MemoryRequest, MemoryLimit int64
}

// AmountsOf reads what a container asks for. A limit of the pod, podLevel, stands
// in for one that the container does not have; nil: the pod has none.
func AmountsOf(podLevel, container *corev1.ResourceRequirements) Amounts {
	a := Amounts{
		CPURequest: container.Requests.Cpu().MilliValue(), CPULimit: container.Limits.Cpu().MilliValue(),
		MemoryRequest: container.Requests.Memory().Value(), MemoryLimit: container.Limits.Memory().Value(),
	}
	if podLevel != nil {
		a.CPULimit = cmp.Or(a.CPULimit, podLevel.Limits.Cpu().MilliValue())
		a.MemoryLimit = cmp.Or(a.MemoryLimit, podLevel.Limits.Memory().Value())
	}
	return a
}

// With takes one resource, CPU or memory, from the amounts that are wanted. A
// resize changes one at a time, and the other stays as it was last set.
func (a Amounts) With(name corev1.ResourceName, wanted Amounts) Amounts {
	switch name {
	case corev1.ResourceCPU:
		a.CPURequest, a.CPULimit = wanted.CPURequest, wanted.CPULimit
	case corev1.ResourceMemory:
		a.MemoryRequest, a.MemoryLimit = wanted.MemoryRequest, wanted.MemoryLimit
	default: // nothing else can be changed
	}
	return a
}

// UpdatedResources are what the runtime is told of a running container that is
// resized: all there is to say of its resources, with other amounts. p is the pod
// as it is allocated. Huge pages stay what they are. (The kubelet loses them
// here: kuberuntime_manager.go.)
func UpdatedResources(p *corev1.Pod, c *corev1.Container, a Amounts, node Node) *runtimeapi.LinuxContainerResources {
	resized := *c
	resized.Resources.Requests = amounts(a.CPURequest, a.MemoryRequest)
	resized.Resources.Limits = amounts(a.CPULimit, a.MemoryLimit)
	maps.Copy(resized.Resources.Limits, hugePagesOf(c.Resources.Limits))
	return containerResources(p, &resized, &node)
}

func amounts(milliCPU, bytes int64) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(milliCPU, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(bytes, resource.BinarySI),
	}
}

func hugePagesOf(list corev1.ResourceList) corev1.ResourceList {
	pages := maps.Clone(list)
	maps.DeleteFunc(pages, func(name corev1.ResourceName, _ resource.Quantity) bool {
		return !strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
	})
	return pages
}

// PodLimits are the limits of a pod's cgroup, overhead included: µs, bytes and
// shares. Zero is one that the cgroup was not given, -1 one without end.
type PodLimits struct {
	CPUShares, CPUQuota, CPUPeriod, Memory int64
	Unified                                map[string]string
}

// UpdatedSandbox is what the runtime is told of the pod's sandbox when the pod's
// cgroup gets other limits, before they are set: the runtime may refuse.
func UpdatedSandbox(p *corev1.Pod, l PodLimits, node Node) (overhead, resources *runtimeapi.LinuxContainerResources) {
	cpu, memory := p.Spec.Overhead.Cpu().MilliValue(), p.Spec.Overhead.Memory().Value()
	if l.CPUQuota > 0 && l.CPUPeriod > 0 {
		l.CPUQuota = max(l.CPUQuota-Quota(cpu, time.Duration(l.CPUPeriod)*time.Microsecond), minQuota)
	}
	if l.CPUShares > 0 && cpu != 0 {
		l.CPUShares = Shares(milliOf(l.CPUShares) - cpu)
	}
	if l.Memory > 0 {
		l.Memory = max(l.Memory-max(memory, 0), 0)
	}
	return overheadOf(p, &node), &runtimeapi.LinuxContainerResources{
		CpuPeriod: l.CPUPeriod, CpuQuota: l.CPUQuota, CpuShares: l.CPUShares, MemoryLimitInBytes: l.Memory, Unified: maps.Clone(l.Unified),
	}
}

// milliOf is the CPU that shares stand for, in thousandths and rounded up.
func milliOf(shares int64) int64 {
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
