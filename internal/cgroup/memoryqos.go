package cgroup

import (
	"math"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Files of cgroup v2 that protect memory and throttle its use.
const (
	fileMemoryMin  = "memory.min"
	fileMemoryLow  = "memory.low"
	fileMemoryHigh = "memory.high"
)

// with adds a value that is not empty.
func with(files map[string]string, file, value string) map[string]string {
	if value == "" {
		return files
	}
	if files == nil {
		files = map[string]string{}
	}
	files[file] = value
	return files
}

// protection keeps what a pod requests from being reclaimed: never for a
// guaranteed pod, last for a burstable one. It needs TieredReservation.
func protection(class corev1.PodQOSClass, request int64, cfg *Config) map[string]string {
	if !cfg.tiered() || request <= 0 {
		return nil
	}
	file := fileMemoryLow
	if class == corev1.PodQOSGuaranteed {
		file = fileMemoryMin
	}
	return map[string]string{file: strconv.FormatInt(request, 10)}
}

// memoryHigh is where a pod begins to be slowed down: the factor's way from its
// request to its limit, in whole pages. It is empty where there is no such way.
func memoryHigh(request, limit int64, factor float64, page int64) string {
	if limit <= 0 || request == limit {
		return ""
	}
	pages := math.Floor(float64(request)+(float64(limit)-float64(request))*factor) / float64(page)
	if !(pages >= 1) || pages >= float64(math.MaxInt64/page) {
		return ""
	}
	high := int64(pages) * page
	if high <= request {
		return ""
	}
	return strconv.FormatInt(high, 10)
}

// ask is what a pod asks of the classes above it: CPU in millicores, memory in
// bytes.
type ask struct {
	class       corev1.PodQOSClass
	cpu, memory int64
}

// share is what a class's cgroup is given. The zero value leaves it alone.
type share struct {
	shares uint64
	// protect says that min and low are to be written.
	protect  bool
	min, low int64
}

// shareOf adds up what pods ask of a class: BestEffort gets the least CPU there
// is, Burstable the sum of its pods' requests. Guaranteed pods are right below
// kubepods, whose protection has to cover that of all below.
func shareOf(class corev1.PodQOSClass, asks map[types.UID]ask, tiered bool) share {
	cpu, guaranteed, burstable := int64(0), int64(0), int64(0)
	for _, a := range asks {
		switch a.class {
		case corev1.PodQOSBurstable:
			cpu, burstable = add(cpu, a.cpu), add(burstable, a.memory)
		case corev1.PodQOSGuaranteed:
			guaranteed = add(guaranteed, a.memory)
		case corev1.PodQOSBestEffort:
		}
	}
	switch class {
	case corev1.PodQOSBestEffort:
		return share{shares: minShares}
	case corev1.PodQOSBurstable:
		s := share{shares: shares(cpu)}
		if tiered {
			s.protect, s.low = true, burstable
		}
		return s
	case corev1.PodQOSGuaranteed:
		if tiered {
			return share{protect: true, min: add(guaranteed, burstable), low: burstable}
		}
	}
	return share{}
}

// limits are what is written for a share. memory.min is for kubepods alone.
func (s share) limits(class corev1.PodQOSClass) Limits {
	l := Limits{CPUShares: s.shares}
	if s.protect {
		l.Unified = map[string]string{fileMemoryLow: strconv.FormatInt(s.low, 10)}
		if class == corev1.PodQOSGuaranteed {
			l.Unified[fileMemoryMin] = strconv.FormatInt(s.min, 10)
		}
	}
	return l
}
