package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/cpuset"
)

// evictionSignals are the names that thresholds may have.
var evictionSignals = []string{
	"memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree",
	"containerfs.available", "containerfs.inodesFree", "allocatableMemory.available", "pid.available",
}

// eachSignal calls check for every entry whose signal is known and reports the others.
func (v *validator) eachSignal(field string, entries map[string]string, check func(signal, value string)) {
	for _, signal := range slices.Sorted(maps.Keys(entries)) {
		if slices.Contains(evictionSignals, signal) {
			check(signal, entries[signal])
			continue
		}
		fix := "use one of " + strings.Join(evictionSignals, ", ")
		if near := nearest(signal, evictionSignals); near != "" {
			fix = "did you mean " + near + "?"
		}
		v.bad(field, signal, "unknown eviction signal", fix)
	}
}

func (v *validator) eviction() {
	kc := v.kc
	threshold := func(field string) func(signal, value string) {
		return func(signal, value string) {
			if reason := checkThreshold(value, false); reason != "" {
				v.bad(field, signal+"<"+value, reason, "write a quantity such as 100Mi or a percentage such as 10%")
			}
		}
	}
	v.eachSignal("evictionHard", kc.EvictionHard, threshold("evictionHard"))
	v.eachSignal("evictionSoft", kc.EvictionSoft, threshold("evictionSoft"))
	v.eachSignal("evictionMinimumReclaim", kc.EvictionMinimumReclaim, func(signal, value string) {
		if reason := checkThreshold(value, true); reason != "" {
			v.bad("evictionMinimumReclaim", signal+"="+value, reason, "write a quantity such as 500Mi or a percentage such as 5%")
		}
	})
	v.eachSignal("evictionSoftGracePeriod", kc.EvictionSoftGracePeriod, func(signal, value string) {
		if d, err := time.ParseDuration(value); err != nil || d < 0 {
			v.bad("evictionSoftGracePeriod", signal+"="+value, "must be a duration of 0s or longer", "write a duration such as 1m30s")
		}
	})
	for _, signal := range slices.Sorted(maps.Keys(kc.EvictionSoft)) {
		value := kc.EvictionSoft[signal]
		if _, ok := kc.EvictionSoftGracePeriod[signal]; !ok && value != "0%" && value != "100%" {
			v.bad("evictionSoft", signal+"<"+value, "a soft threshold needs a grace period", "add "+signal+" to evictionSoftGracePeriod (--eviction-soft-grace-period)")
		}
	}
}

// checkThreshold returns what is wrong with a quantity or percentage, "" for nothing.
func checkThreshold(value string, reclaim bool) string {
	if number, isPercent := strings.CutSuffix(value, "%"); isPercent {
		percent, err := strconv.ParseFloat(number, 32)
		if err != nil || percent < 0 || (percent > 100 && !reclaim) {
			return "must be a percentage from 0% to 100%"
		}
		if percent == 0 && reclaim {
			return "must be more than 0%"
		}
		return ""
	}
	quantity, err := resource.ParseQuantity(value)
	switch {
	case err != nil:
		return "must be a quantity or a percentage"
	case quantity.Sign() < 0 || (quantity.IsZero() && !reclaim):
		return "must be more than zero"
	default:
		return ""
	}
}

func (v *validator) reserved() {
	kc := v.kc
	v.reservation("systemReserved", kc.SystemReserved)
	v.reservation("kubeReserved", kc.KubeReserved)
	if kc.ReservedSystemCPUs != "" {
		if kc.SystemReservedCgroup != "" || kc.KubeReservedCgroup != "" {
			v.bad("reservedSystemCPUs", kc.ReservedSystemCPUs, "it can not be combined with systemReservedCgroup (--system-reserved-cgroup) or kubeReservedCgroup (--kube-reserved-cgroup)", "remove one of them")
		}
		if _, err := cpuset.Parse(kc.ReservedSystemCPUs); err != nil {
			v.bad("reservedSystemCPUs", kc.ReservedSystemCPUs, "must be a CPU list ("+err.Error()+")", "write for example 0-1,4")
		}
	}
	if kc.SystemCgroups != "" && kc.CgroupRoot == "" {
		v.bad("systemCgroups", kc.SystemCgroups, "it needs cgroupRoot (--cgroup-root)", "set cgroupRoot or remove it")
	}
	seen := map[string]bool{}
	for _, r := range kc.ReservedMemory {
		for name, q := range r.Limits {
			id := fmt.Sprintf("%d:%s", r.NumaNode, name)
			switch {
			case !memoryResource(name):
				v.bad("reservedMemory", id, "only memory and hugepages-<size> can be reserved", "correct the resource name")
			case q.IsZero():
				v.bad("reservedMemory", id, "the quantity must not be zero", "set a quantity or remove the entry")
			case seen[id]:
				v.bad("reservedMemory", id, "this NUMA node has the resource twice", "keep one entry")
			}
			seen[id] = true
		}
	}
	size, err := resource.ParseQuantity(kc.ContainerLogMaxSize)
	if err != nil || size.IsZero() {
		v.bad("containerLogMaxSize", kc.ContainerLogMaxSize, "must be a quantity, negative to disable rotation", "write for example 10Mi")
	}
}

func (v *validator) reservation(field string, amounts map[string]string) {
	allowed := []string{string(corev1.ResourceCPU), string(corev1.ResourceMemory), string(corev1.ResourceEphemeralStorage), "pid"}
	for _, name := range slices.Sorted(maps.Keys(amounts)) {
		quantity, err := resource.ParseQuantity(amounts[name])
		switch {
		case !slices.Contains(allowed, name):
			v.bad(field, name, "this resource can not be reserved, only "+strings.Join(allowed, ", "), "remove it")
		case err != nil || quantity.Sign() < 0:
			v.bad(field, name+"="+amounts[name], "must be a quantity of zero or more", "write a quantity such as 500m or 1Gi")
		}
	}
}

func (v *validator) allocatable() {
	const field = "enforceNodeAllocatable"
	levels := v.kc.EnforceNodeAllocatable
	cgroupOf := map[string]string{
		"system-reserved": v.kc.SystemReservedCgroup, "system-reserved-compressible": v.kc.SystemReservedCgroup,
		"kube-reserved": v.kc.KubeReservedCgroup, "kube-reserved-compressible": v.kc.KubeReservedCgroup,
	}
	seen := map[string]bool{}
	for _, level := range levels {
		cgroup, needsCgroup := cgroupOf[level]
		switch {
		case seen[level]:
			v.bad(field, level, "it is listed twice", "keep one")
		case level == "none" && len(levels) > 1:
			v.bad(field, strings.Join(levels, ","), "none can not be combined with others", "remove none or the others")
		case level == "none" || level == "pods":
		case !needsCgroup:
			v.oneOf(field, level, "pods", "none", "system-reserved", "system-reserved-compressible", "kube-reserved", "kube-reserved-compressible")
		case cgroup == "":
			owner := strings.TrimSuffix(level, "-compressible")
			v.bad(field, level, "it needs the cgroup to enforce on", "set "+map[string]string{
				"system-reserved": "systemReservedCgroup (--system-reserved-cgroup)",
				"kube-reserved":   "kubeReservedCgroup (--kube-reserved-cgroup)",
			}[owner])
		}
		if (needsCgroup || level == "pods") && !*v.kc.CgroupsPerQOS {
			v.bad(field, level, "it needs cgroupsPerQOS (--cgroups-per-qos) to be true", "set cgroupsPerQOS to true or write [none]")
		}
		seen[level] = true
	}
	for _, owner := range []string{"system-reserved", "kube-reserved"} {
		if seen[owner] && seen[owner+"-compressible"] {
			v.bad(field, strings.Join(levels, ","), owner+" and "+owner+"-compressible exclude each other", "keep one")
		}
	}
}
