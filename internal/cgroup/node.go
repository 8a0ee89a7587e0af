package cgroup

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// resourcePIDs is how the number of processes is called among resources.
const resourcePIDs corev1.ResourceName = "pid"

// unboundedPages is what a class may have of huge pages: the pods have limits.
const unboundedPages = int64(1) << 62

// What enforceNodeAllocatable may name.
const (
	enforcePods         = "pods"
	enforceSystem       = "system-reserved"
	enforceKube         = "kube-reserved"
	compressibleSuffix  = "-compressible"
	compressibleInTexts = " Compressible"
)

// NodeLimits is what of the node pods and daemons may use. The fields are those
// of the configuration.
type NodeLimits struct {
	// Capacity is all of the node, with "pid" (kernel.pid_max or threads-max, the
	// lower one) and the huge pages.
	Capacity corev1.ResourceList
	// Enforce is enforceNodeAllocatable. Without "pods" all pods together may use
	// the capacity.
	Enforce                                  []string
	SystemReserved, KubeReserved             corev1.ResourceList
	SystemReservedCgroup, KubeReservedCgroup string
	// CPUs are those pods run on, "0-7". Empty: all that the cgroup above has.
	CPUs string
}

// Allocatable is the capacity without what is reserved. What is kept free by
// evicting pods is no part of that: pods may use it, and are evicted then.
func (l *NodeLimits) Allocatable() corev1.ResourceList {
	all := corev1.ResourceList{}
	for name, amount := range l.Capacity {
		left := amount.DeepCopy()
		left.Sub(l.SystemReserved[name])
		left.Sub(l.KubeReserved[name])
		if left.Sign() < 0 {
			left.Set(0)
		}
		all[name] = left
	}
	return all
}

// Step is one thing that [Manager.Enforce] did, or failed at.
type Step struct {
	// Message is what the kubelet says in an event of the node: with the reason
	// NodeAllocatableEnforced when Err is nil, else FailedNodeAllocatableEnforcement.
	Message string
	Err     error
	// Fatal says that trying again does not help: the kubelet refuses to start.
	Fatal bool
}

// reserved is a cgroup of daemons that is limited to what is reserved for them.
type reserved struct {
	title, path  string
	resources    corev1.ResourceList
	compressible bool
}

// reservedCgroups are those that the configuration wants limited, in the
// kubelet's order.
func (l *NodeLimits) reservedCgroups() []reserved {
	var all []reserved
	for _, suffix := range []string{"", compressibleSuffix} {
		if slices.Contains(l.Enforce, enforceSystem+suffix) {
			all = append(all, reserved{"System", l.SystemReservedCgroup, l.SystemReserved, suffix != ""})
		}
		if slices.Contains(l.Enforce, enforceKube+suffix) {
			all = append(all, reserved{"Kube", l.KubeReservedCgroup, l.KubeReserved, suffix != ""})
		}
	}
	return all
}

func (r *reserved) done() string {
	return fmt.Sprintf("Updated limits on %s reserved cgroup %s", strings.ToLower(r.title), r.path)
}

func (r *reserved) failed(err error) string {
	word := ""
	if r.compressible {
		word = compressibleInTexts
	}
	return fmt.Sprintf("Failed to enforce %s Reserved%s Cgroup Limits on %q: %v", r.title, word, r.path, err)
}

// limits of the daemons. What can be compressed is CPU: who has too little of it
// is slow, not dead.
func (r *reserved) limits(protect bool) Limits {
	if r.compressible {
		return Limits{CPUShares: nodeLimits(r.resources).CPUShares}
	}
	l := nodeLimits(r.resources)
	if protect && l.Memory != nil {
		l.Unified = map[string]string{fileMemoryMin: strconv.FormatInt(*l.Memory, 10)}
	}
	return l
}

// nodeLimits sets what is listed. There is no CPU quota: shares matter only
// where CPU is short.
func nodeLimits(list corev1.ResourceList) Limits {
	l := Limits{HugePages: hugePages(list)}
	if cpu, ok := list[corev1.ResourceCPU]; ok {
		l.CPUShares = shares(cpu.MilliValue())
	}
	if memory, ok := list[corev1.ResourceMemory]; ok {
		l.Memory = new(max(memory.Value(), 0))
	}
	if pids, ok := list[resourcePIDs]; ok {
		l.PIDs = new(max(pids.Value(), 0))
	}
	return l
}

// podsLimits are those of all pods together, by the configuration.
func (l *NodeLimits) podsLimits() Limits {
	list := l.Capacity
	if slices.Contains(l.Enforce, enforcePods) {
		list = l.Allocatable()
	}
	limits := nodeLimits(list)
	limits.HugePages, limits.CPUs = nil, l.CPUs
	return limits
}

// parseReserved reads the name of a cgroup that others made: as it is with
// cgroupfs, of a slice the last part with systemd, which says where it is.
func parseReserved(text string, d Driver) name {
	if strings.Trim(text, "/") == "" {
		return nil
	}
	if d == Systemd {
		return parseRoot(strings.TrimSuffix(path.Base(text), sliceSuffix) + sliceSuffix)
	}
	var n name
	for part := range strings.SplitSeq(text, "/") {
		if part != "" {
			n = append(n, part)
		}
	}
	return n
}
