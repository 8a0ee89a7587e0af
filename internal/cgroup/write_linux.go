package cgroup

import (
	"errors"
	"fmt"

	"github.com/opencontainers/cgroups"
)

// create makes a cgroup and those above it, and sets what the machine allows of
// its limits. The rest is warned of.
func (m *Manager) create(n name, l Limits) error {
	handle, err := m.handle(n)
	if err != nil {
		return err
	}
	// systemd may have forgotten a slice whose directory stayed.
	if m.cfg.Driver == Systemd || !m.complete(n) {
		if err := handle.Apply(-1); err != nil { // -1: nobody moves in
			return err
		}
	}
	for _, f := range write(handle, m.parts(l)) {
		m.warn(f.controller, "Cannot set a limit on pods", f.err)
	}
	return nil
}

// set sets all limits of a cgroup that is there, or says why it cannot.
func (m *Manager) set(n name, l Limits) error {
	handle, err := m.handle(n)
	if err != nil {
		return err
	}
	var all []error
	for _, f := range write(handle, m.parts(l)) {
		all = append(all, fmt.Errorf("set the %s limits of cgroup %s: %w", f.controller, n.path(m.cfg.Driver), f.err))
	}
	return errors.Join(all...)
}

type failure struct {
	controller string
	err        error
}

// write sets the parts at once, which systemd likes better. One that fails hides
// the others: then each gets a try of its own.
func write(handle cgroups.Manager, parts []part) []failure {
	all := resources()
	for _, part := range parts {
		part.set(all)
	}
	if err := handle.Set(all); err == nil {
		return nil
	}
	var failures []failure
	for _, part := range parts {
		r := resources()
		part.set(r)
		if err := handle.Set(r); err != nil {
			failures = append(failures, failure{part.controller, err})
		}
	}
	return failures
}

// resources that change nothing yet. A memory limit below what is in use is
// refused, where the kernel would kill for it.
func resources() *cgroups.Resources {
	return &cgroups.Resources{SkipDevices: true, SkipFreezeOnSet: true, MemoryCheckBeforeUpdate: true}
}

type part struct {
	controller string
	set        func(*cgroups.Resources)
}

// parts splits limits by controller and leaves out what the machine has not.
func (m *Manager) parts(l Limits) []part {
	var parts []part
	add := func(wanted bool, controller string, set func(*cgroups.Resources)) {
		switch {
		case !wanted:
		case m.host.has(controller):
			parts = append(parts, part{controller, set})
		default:
			m.warn(controller, "Cannot limit pods", errors.New("the cgroup controller is not there"))
		}
	}
	add(l.CPUShares != 0 || l.CPUQuota != nil || l.CPUPeriod != 0, "cpu", func(r *cgroups.Resources) { m.host.cpu(r, l) })
	add(l.CPUs != "", "cpuset", func(r *cgroups.Resources) { r.CpusetCpus = l.CPUs })
	add(l.Memory != nil, "memory", func(r *cgroups.Resources) { r.Memory = *l.Memory })
	add(len(l.Unified) != 0 && m.host.v2, "memory", func(r *cgroups.Resources) { r.Unified = l.Unified })
	add(l.PIDs != nil, "pids", func(r *cgroups.Resources) { r.PidsLimit = l.PIDs })
	// Optional: without the controller there is nothing to limit.
	add(l.HugePages != nil && m.host.has("hugetlb"), "hugetlb", func(r *cgroups.Resources) { r.HugetlbLimit = m.host.hugetlb(l) })
	return parts
}

// cpu is the CPU part of limits, in this machine's terms.
func (h *host) cpu(r *cgroups.Resources, l Limits) {
	switch {
	case l.CPUShares == 0:
	case h.v2:
		r.CpuWeight = weight(l.CPUShares)
	default:
		r.CpuShares = l.CPUShares
	}
	r.CpuPeriod = l.CPUPeriod
	if l.CPUQuota != nil {
		r.CpuQuota = *l.CPUQuota
	}
}

// hugetlb limits every page size: to 0 where none is asked for.
func (h *host) hugetlb(l Limits) []*cgroups.HugepageLimit {
	wanted := map[string]int64{}
	for size, limit := range l.HugePages {
		wanted[pageSizeName(size)] = limit
	}
	var all []*cgroups.HugepageLimit
	for _, size := range h.pageSizes {
		all = append(all, &cgroups.HugepageLimit{Pagesize: size, Limit: uint64(max(wanted[size], 0))}) // #nosec G115 -- not negative
	}
	return all
}

// unbounded gives all there is of huge pages.
func (h *host) unbounded() map[int64]int64 {
	all := map[int64]int64{}
	for _, name := range h.pageSizes {
		all[pageSizeOf(name)] = unboundedPages
	}
	return all
}
