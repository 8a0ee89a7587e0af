package cgroup

import (
	"cmp"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// What the kernel accepts.
const (
	minShares = 2
	maxShares = 262144
	minQuota  = 1000 // µs
	maxWeight = 10000
)

const defaultPeriod = 100 * time.Millisecond

// Unlimited is the quota and the memory limit of a cgroup that has none.
const Unlimited int64 = -1

// Limits are what a cgroup is given, or was found with. What is zero or nil is
// left alone.
type Limits struct {
	// CPUShares weigh the cgroup against its neighbours, 2 to 262144. They are in
	// terms of cgroup v1 on every machine.
	CPUShares uint64
	// CPUQuota is µs of CPU per period, or [Unlimited]; CPUPeriod is in µs.
	CPUQuota  *int64
	CPUPeriod uint64
	// Memory is in bytes, or [Unlimited].
	Memory *int64
	PIDs   *int64
	// HugePages are bytes by page size in bytes. The sizes that are missing are
	// not allowed, unless the map is nil.
	HugePages map[int64]int64
	// CPUs the cgroup may run on, "0-3,8".
	CPUs string
	// Unified are files of cgroup v2 and what is written into them.
	Unified map[string]string
}

// Only is one part of the limits, for [Manager.Resize].
func (l Limits) Only(part pod.Limit) Limits {
	switch part {
	case pod.LimitMemory:
		return Limits{Memory: l.Memory, Unified: l.Unified}
	case pod.LimitCPUQuota:
		return Limits{CPUQuota: l.CPUQuota, CPUPeriod: l.CPUPeriod}
	case pod.LimitCPUShares:
		return Limits{CPUShares: l.CPUShares}
	}
	return Limits{}
}

// SharesAgree reports whether shares that were found are those that were wanted.
// Weights of cgroup v2 are coarser, so that what comes back may be another number.
func SharesAgree(wanted, found uint64) bool {
	return wanted == found || sharesOf(weight(wanted)) == found
}

// compare says which way a part has to go from what was found to what is wanted.
func compare(wanted, found Limits, part pod.Limit) int {
	switch part {
	case pod.LimitMemory:
		return compareLimit(wanted.Memory, found.Memory, uint64(os.Getpagesize())) // #nosec G115 -- positive
	case pod.LimitCPUQuota:
		if wanted.CPUQuota != nil && found.CPUQuota != nil && *wanted.CPUQuota > 0 && *found.CPUQuota > 0 {
			// Per period, in numbers that do not overflow.
			want, have := float64(*wanted.CPUQuota)/float64(wanted.CPUPeriod), float64(*found.CPUQuota)/float64(found.CPUPeriod)
			return cmp.Compare(want, have)
		}
		return compareLimit(wanted.CPUQuota, found.CPUQuota, 1)
	case pod.LimitCPUShares:
		if found.CPUShares != 0 && !SharesAgree(wanted.CPUShares, found.CPUShares) {
			return cmp.Compare(wanted.CPUShares, found.CPUShares)
		}
	}
	return 0
}

// compareLimit knows that no limit is more than any, and that the kernel rounds
// down to whole units. A limit of 0 is not set.
func compareLimit(wanted, found *int64, unit uint64) int {
	if wanted == nil || found == nil || *wanted == 0 {
		return 0
	}
	size := func(limit int64) uint64 { return uint64(limit) / unit } // #nosec G115 -- Unlimited is the largest then
	return cmp.Compare(size(*wanted), size(*found))
}

// limitsOf works out a pod's limits from its spec. A limit on the whole pod is
// only set when every container has one, or the pod itself: one that has none
// may use what it likes. (kubelet: cm/helpers_linux.go)
func limitsOf(p *corev1.Pod, cfg *Config, v2 bool) Limits {
	requests := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
	l := Limits{CPUShares: minShares, HugePages: hugePages(requests)}
	if cfg.PodPidsLimit > 0 {
		l.PIDs = &cfg.PodPidsLimit
	}
	class := pod.QOS(p)
	if class == corev1.PodQOSBestEffort {
		return l
	}
	l.CPUShares = shares(requests.Cpu().MilliValue())
	total := resourcehelper.PodLimits(p, resourcehelper.PodResourcesOptions{})
	guaranteed := class == corev1.PodQOSGuaranteed
	if guaranteed || allLimited(p, corev1.ResourceCPU) {
		quota := Unlimited
		if !cfg.NoCPUQuota && (cfg.ExclusiveCPUs == nil || !cfg.ExclusiveCPUs(p)) {
			quota = containerspec.Quota(total.Cpu().MilliValue(), cfg.period())
		}
		l.CPUQuota, l.CPUPeriod = &quota, uint64(cfg.period().Microseconds()) // #nosec G115 -- New checked it
	}
	memoryLimited := guaranteed || allLimited(p, corev1.ResourceMemory)
	if memoryLimited {
		l.Memory = new(max(total.Memory().Value(), 0))
	}
	if v2 && !cfg.NoMemoryQoS {
		l.Unified = protection(class, requests.Memory().Value(), cfg)
		if memoryLimited && cfg.MemoryThrottlingFactor != nil && resourcehelper.IsPodLevelResourcesSet(p) {
			high := memoryHigh(requests.Memory().Value(), total.Memory().Value(), *cfg.MemoryThrottlingFactor, int64(os.Getpagesize()))
			l.Unified = with(l.Unified, fileMemoryHigh, high)
		}
	}
	return l
}

// allLimited reports whether the pod or every one of its containers, the init
// containers included, has a limit.
func allLimited(p *corev1.Pod, name corev1.ResourceName) bool {
	limited := func(r *corev1.ResourceRequirements) bool {
		limit, ok := r.Limits[name]
		return ok && !limit.IsZero()
	}
	if p.Spec.Resources != nil && limited(p.Spec.Resources) {
		return true
	}
	for i := range p.Spec.InitContainers {
		if !limited(&p.Spec.InitContainers[i].Resources) {
			return false
		}
	}
	for i := range p.Spec.Containers {
		if !limited(&p.Spec.Containers[i].Resources) {
			return false
		}
	}
	return true
}

func shares(milliCPU int64) uint64 {
	return uint64(containerspec.Shares(milliCPU)) // #nosec G115 -- at least 2
}

// weight is the v2 form of shares. The kubelet converts linearly, newer runtimes
// do not; pods are compared with pods, so it has to be the kubelet's way.
func weight(shares uint64) uint64 {
	if shares >= maxShares {
		return maxWeight
	}
	return 1 + ((max(shares, minShares)-minShares)*(maxWeight-1))/(maxShares-minShares)
}

// sharesOf is the way back.
func sharesOf(weight uint64) uint64 {
	weight = min(max(weight, 1), maxWeight)
	return (weight-1)*(maxShares-minShares)/(maxWeight-1) + minShares
}

// hugePages reads "hugepages-2Mi: 4Mi" and the like.
func hugePages(list corev1.ResourceList) map[int64]int64 {
	sizes := map[int64]int64{}
	for name, amount := range list {
		text, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix)
		if !ok {
			continue
		}
		if size, err := resource.ParseQuantity(text); err == nil {
			sizes[size.Value()] = add(sizes[size.Value()], amount.Value())
		}
	}
	return sizes
}

// add is the sum of what is not negative, and stops at the largest number.
func add(a, b int64) int64 {
	a, b = max(a, 0), max(b, 0)
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// pageSizeName is a page size as the kernel's file names have it: 2MB, 1GB.
func pageSizeName(size int64) string {
	units := []string{"B", "KB", "MB", "GB", "TB"}
	i := 0
	for size >= 1024 && size%1024 == 0 && i < len(units)-1 {
		size /= 1024
		i++
	}
	return strconv.FormatInt(size, 10) + units[i]
}

// pageSizeOf is the way back; 0 for what is no size.
func pageSizeOf(name string) int64 {
	number := strings.TrimRight(name, "BKMGT")
	size, err := strconv.ParseInt(number, 10, 64)
	if err != nil || size <= 0 {
		return 0
	}
	for unit := range strings.SplitSeq("B,KB,MB,GB,TB", ",") {
		if name[len(number):] == unit {
			return size
		}
		if size > math.MaxInt64/1024 {
			return 0
		}
		size *= 1024
	}
	return 0
}
