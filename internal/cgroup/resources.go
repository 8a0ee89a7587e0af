package cgroup

import (
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

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

// limits is what a pod's cgroup is given. nil is "leave it alone".
type limits struct {
	shares uint64
	quota  *int64 // µs per period; -1 is unlimited
	period uint64 // µs
	memory *int64
	pids   *int64
	// hugePages by page size in bytes; the sizes that are missing are not allowed.
	hugePages map[int64]int64
}

// limitsOf works out a pod's limits from its spec. A limit on the whole pod is
// only set when every container has one, or the pod itself: one that has none
// may use what it likes.
func limitsOf(p *corev1.Pod, cfg Config) limits {
	requests := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
	l := limits{shares: minShares, hugePages: hugePages(requests)}
	if cfg.PodPidsLimit > 0 {
		l.pids = &cfg.PodPidsLimit
	}
	class := pod.QOS(p)
	if class == corev1.PodQOSBestEffort {
		return l
	}
	l.shares = shares(requests.Cpu().MilliValue())
	total := resourcehelper.PodLimits(p, resourcehelper.PodResourcesOptions{})
	guaranteed := class == corev1.PodQOSGuaranteed
	if guaranteed || allLimited(p, corev1.ResourceCPU) {
		quota := int64(-1)
		if !cfg.NoCPUQuota {
			quota = quotaOf(total.Cpu().MilliValue(), cfg.period())
		}
		l.quota, l.period = &quota, uint64(cfg.period().Microseconds())
	}
	if guaranteed || allLimited(p, corev1.ResourceMemory) {
		memory := total.Memory().Value()
		l.memory = &memory
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
	return uint64(min(max(milliCPU*1024/1000, minShares), maxShares))
}

// weight is the v2 form of shares. The kubelet converts linearly, newer runtimes
// do not; pods are compared with pods, so it has to be the kubelet's way.
func weight(shares uint64) uint64 {
	if shares >= maxShares {
		return maxWeight
	}
	return 1 + ((max(shares, minShares)-minShares)*(maxWeight-1))/(maxShares-minShares)
}

func quotaOf(milliCPU int64, period time.Duration) int64 {
	if milliCPU == 0 {
		return 0
	}
	return max(milliCPU*period.Microseconds()/1000, minQuota)
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
			sizes[size.Value()] += amount.Value()
		}
	}
	return sizes
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
