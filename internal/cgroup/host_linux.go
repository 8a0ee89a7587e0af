package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	"github.com/opencontainers/cgroups/manager"
)

// hybridMount is where systemd puts cgroup v2 beside v1.
const hybridMount = "/sys/fs/cgroup/unified"

// host is how this machine has its cgroups.
type host struct {
	v2 bool
	// mounts maps controllers to the hierarchy they are in. With v2 there is one
	// entry, with the empty name.
	mounts map[string]string
	// unified is where a machine with cgroup v1 has an empty v2 hierarchy too, in
	// which runtimes make a cgroup of each pod all the same.
	unified string
	// controllers are those that can be used.
	controllers []string
	// pageSizes are the huge pages the kernel has, "2MB".
	pageSizes []string
}

func lookAtHost() (host, error) {
	h := host{pageSizes: cgroups.HugePageSizes()}
	if cgroups.IsCgroup2UnifiedMode() {
		h.v2, h.mounts = true, map[string]string{"": fs2.UnifiedMountpoint}
		var err error
		h.controllers, err = cgroups.GetAllSubsystems()
		return h, err
	}
	all, err := cgroups.GetCgroupMounts(true)
	if err != nil {
		return h, err
	}
	h.mounts = map[string]string{}
	for _, mount := range all {
		for _, controller := range mount.Subsystems {
			// The same hierarchy may be mounted in containers too: the shortest
			// path is the machine's own.
			if old := h.mounts[controller]; old == "" || len(mount.Mountpoint) < len(old) {
				h.mounts[controller] = mount.Mountpoint
			}
		}
	}
	if cgroups.IsCgroup2HybridMode() {
		h.unified = hybridMount
	}
	h.controllers = slices.Sorted(maps.Keys(h.mounts))
	if len(h.controllers) == 0 {
		return h, errors.New("no cgroup file system is mounted")
	}
	return h, nil
}

func (h *host) has(controller string) bool { return slices.Contains(h.controllers, controller) }

// dirs are the directories of a cgroup, sorted: one per hierarchy.
func (h *host) dirs(path string) []string {
	var dirs []string
	if h.unified != "" {
		dirs = append(dirs, filepath.Join(h.unified, path))
	}
	for _, mount := range h.mounts {
		dirs = append(dirs, filepath.Join(mount, path))
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// handle returns the library's view of one cgroup.
func (m *Manager) handle(n name) (cgroups.Manager, error) {
	config := &cgroups.Cgroup{Resources: &cgroups.Resources{SkipDevices: true, SkipFreezeOnSet: true}}
	if m.cfg.Driver == Systemd {
		config.Systemd = true
		config.Parent, config.Name = n.unit()
		return manager.New(config)
	}
	config.Path = n.path(Cgroupfs)
	if m.host.v2 {
		return fs2.NewManager(config, filepath.Join(m.host.mounts[""], config.Path))
	}
	paths := make(map[string]string, len(m.host.mounts))
	for controller, mount := range m.host.mounts {
		if controller == "systemd" { // systemd's own hierarchy has no controller
			controller = cgroups.CgroupNamePrefix + controller
		}
		paths[controller] = filepath.Join(mount, config.Path)
	}
	return fs.NewManager(config, paths)
}

// prime sets nothing on the root cgroup: the library's v1 code looks at the
// machine at its first use and remembers what it saw without a lock, so that must
// be over before pods are handled at the same time.
func (m *Manager) prime() error {
	if m.host.v2 || m.cfg.Driver == Systemd {
		return nil
	}
	handle, err := m.handle(name{})
	if err != nil {
		return err
	}
	return handle.Set(&cgroups.Resources{SkipDevices: true, SkipFreezeOnSet: true})
}

// create makes a cgroup and those above it, and sets its limits.
func (m *Manager) create(n name, l limits) error {
	handle, err := m.handle(n)
	if err != nil {
		return err
	}
	if err := handle.Apply(-1); err != nil { // -1: nobody moves in
		return err
	}
	parts := m.parts(l)
	all := &cgroups.Resources{SkipDevices: true, SkipFreezeOnSet: true}
	for _, part := range parts {
		part.set(all)
	}
	if err := handle.Set(all); err == nil {
		return nil
	}
	// One that fails hides the others: give each a try of its own.
	for _, part := range parts {
		r := &cgroups.Resources{SkipDevices: true, SkipFreezeOnSet: true}
		part.set(r)
		m.warn(part.controller, "Cannot set a limit on pods", handle.Set(r))
	}
	return nil
}

type part struct {
	controller string
	set        func(*cgroups.Resources)
}

// parts splits limits by controller and leaves out what the machine has not.
func (m *Manager) parts(l limits) []part {
	var parts []part
	add := func(controller string, set func(*cgroups.Resources)) {
		if !m.host.has(controller) {
			m.warn(controller, "Cannot limit pods", errors.New("the cgroup controller is not there"))
			return
		}
		parts = append(parts, part{controller, set})
	}
	add("cpu", func(r *cgroups.Resources) {
		c := m.host.cpu(l)
		r.CpuShares, r.CpuWeight, r.CpuQuota, r.CpuPeriod = c.CpuShares, c.CpuWeight, c.CpuQuota, c.CpuPeriod
	})
	if l.memory != nil {
		add("memory", func(r *cgroups.Resources) { r.Memory = *l.memory })
	}
	if l.pids != nil {
		add("pids", func(r *cgroups.Resources) { r.PidsLimit = l.pids })
	}
	if m.host.has("hugetlb") { // optional: without it there is nothing to limit
		add("hugetlb", func(r *cgroups.Resources) { r.HugetlbLimit = m.host.hugetlb(l) })
	}
	return parts
}

// cpu is the CPU part of limits, in this machine's terms.
func (h *host) cpu(l limits) *cgroups.Resources {
	r := &cgroups.Resources{SkipDevices: true, SkipFreezeOnSet: true, CpuPeriod: l.period}
	if h.v2 {
		r.CpuWeight = weight(l.shares)
	} else {
		r.CpuShares = l.shares
	}
	if l.quota != nil {
		r.CpuQuota = *l.quota
	}
	return r
}

// hugetlb limits every page size: to 0 where the pod asks for none.
func (h *host) hugetlb(l limits) []*cgroups.HugepageLimit {
	wanted := map[string]int64{}
	for size, limit := range l.hugePages {
		wanted[pageSizeName(size)] = limit
	}
	var all []*cgroups.HugepageLimit
	for _, size := range h.pageSizes {
		all = append(all, &cgroups.HugepageLimit{Pagesize: size, Limit: uint64(wanted[size])})
	}
	return all
}

// existing are the directories of a cgroup that are there.
func (h *host) existing(path string) ([]string, error) {
	var dirs []string
	for _, dir := range h.dirs(path) {
		info, err := os.Lstat(dir)
		switch {
		case gone(err):
		case err != nil:
			return nil, fmt.Errorf("look at cgroup %s: %w", dir, err)
		case info.IsDir():
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}
