package containerspec

import (
	"cmp"
	"maps"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What the kernel takes for CPU shares and quotas.
const (
	minShares     = 2
	maxShares     = 262144
	sharesPerCPU  = 1024
	milliPerCPU   = 1000
	defaultPeriod = 100 * time.Millisecond
	minQuota      = 1000 // µs
)

// Shares turns thousandths of a CPU into CFS shares.
func Shares(milliCPU int64) int64 {
	if milliCPU >= maxShares { // more than enough, and the product cannot overflow below
		return maxShares
	}
	return max(max(milliCPU, 0)*sharesPerCPU/milliPerCPU, minShares)
}

// Quota turns thousandths of a CPU into microseconds per period; zero is
// unlimited. The kernel takes no less than a millisecond, so that up to 10m get
// the same.
func Quota(milliCPU int64, period time.Duration) int64 {
	if milliCPU == 0 {
		return 0
	}
	high, low := bits.Mul64(uint64(max(milliCPU, 0)), uint64(max(period.Microseconds(), 0))) // #nosec G115 -- not negative
	if high != 0 || low/milliPerCPU > math.MaxInt64 {
		return math.MaxInt64
	}
	return max(int64(low/milliPerCPU), minQuota) // #nosec G115 -- checked above
}

// add is the sum of what is not negative, and stops at the largest number.
func add(a, b int64) int64 {
	a, b = max(a, 0), max(b, 0)
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// linuxResources are the fields a container, a sandbox and an overhead share.
// CPU is in thousandths, memory in bytes; zero is unlimited.
func linuxResources(cpuRequest, cpuLimit, memoryLimit int64, node *Node) *runtimeapi.LinuxContainerResources {
	r := &runtimeapi.LinuxContainerResources{CpuShares: Shares(cpuRequest), MemoryLimitInBytes: max(memoryLimit, 0)}
	if !node.CPU.NoQuota {
		period := cmp.Or(node.CPU.Period, defaultPeriod)
		r.CpuPeriod, r.CpuQuota = period.Microseconds(), Quota(cpuLimit, period)
	}
	if node.OOMKillGroup && !node.CgroupV1 {
		r.Unified = map[string]string{"memory.oom.group": "1"}
	}
	return r
}

// ApplyCPUs binds a container, or a sandbox, to CPUs and NUMA nodes ("0-3,8");
// empty leaves them to the runtime. Who has CPUs for himself has no quota.
func ApplyCPUs(r *runtimeapi.LinuxContainerResources, cpus, mems string, exclusive bool) {
	r.CpusetCpus, r.CpusetMems = cpus, mems
	if exclusive && r.CpuPeriod != 0 { // else there are no quotas on this node
		r.CpuQuota = -1
	}
}

// containerResources are a container's limits. A pod-level limit stands in for
// one that the container does not have.
func containerResources(p *corev1.Pod, c *corev1.Container, node *Node) *runtimeapi.LinuxContainerResources {
	cpuLimit, memoryLimit := c.Resources.Limits.Cpu(), c.Resources.Limits.Memory()
	if resourcehelper.IsPodLevelResourcesSet(p) {
		if cpuLimit.IsZero() {
			cpuLimit = p.Spec.Resources.Limits.Cpu()
		}
		if memoryLimit.IsZero() {
			memoryLimit = p.Spec.Resources.Limits.Memory()
		}
	}
	cpuRequest := cpuLimit
	if q, ok := c.Resources.Requests[corev1.ResourceCPU]; ok {
		cpuRequest = &q
	}
	r := linuxResources(cpuRequest.MilliValue(), cpuLimit.MilliValue(), memoryLimit.Value(), node)
	r.OomScoreAdj = oomScoreAdj(p, c, node.MemoryCapacity)
	r.HugepageLimits = hugepages(p, c, node.HugePageSizes)
	if node.CgroupV1 {
		if node.NoSwap { // the limit is on memory and swap together
			r.MemorySwapLimitInBytes = r.MemoryLimitInBytes
		}
		return r
	}
	if r.Unified == nil {
		r.Unified = map[string]string{}
	}
	if node.NoSwap {
		r.Unified["memory.swap.max"] = strconv.FormatInt(swapLimit(p, c, node), 10)
	}
	maps.Copy(r.Unified, memoryQoS(p, c, node))
	return r
}

// hugepages limits every page size the kernel has, to zero unless asked for.
func hugepages(p *corev1.Pod, c *corev1.Container, sizes []string) []*runtimeapi.HugepageLimit {
	wanted := map[string]uint64{}
	add := func(l corev1.ResourceList) {
		for name, q := range l {
			if size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok && q.Value() >= 0 {
				if n, err := resource.ParseQuantity(size); err == nil {
					wanted[pageSize(n.Value())] = uint64(q.Value()) // #nosec G115 -- checked above
				}
			}
		}
	}
	if resourcehelper.IsPodLevelResourcesSet(p) {
		add(p.Spec.Resources.Limits)
	}
	add(c.Resources.Limits)
	var out []*runtimeapi.HugepageLimit
	for _, s := range sizes {
		out = append(out, &runtimeapi.HugepageLimit{PageSize: s, Limit: wanted[s]})
	}
	return out
}

// pageSize writes a size as the names of cgroup files do: 2097152 is "2MB".
func pageSize(n int64) string {
	units := []string{"B", "KB", "MB", "GB"}
	i := 0
	for ; i < len(units)-1 && n >= 1024 && n%1024 == 0; i++ {
		n /= 1024
	}
	return strconv.FormatInt(n, 10) + units[i]
}
