package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

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

// limiting are the controllers that a cgroup has to have when the machine has
// them; systemd's own hierarchy counts, as what is missing there is found by
// nobody else. Others may come and go.
func limiting() []string {
	return []string{"cpu", "cpuacct", "cpuset", "hugetlb", "memory", "pids", "systemd"}
}

// missing says what of a cgroup is not there; empty: it is there as a whole.
func (m *Manager) missing(n name) string {
	path := n.path(m.cfg.Driver)
	if m.host.v2 {
		dir := filepath.Join(m.host.mounts[""], path)
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers")) // #nosec G304 -- the name was checked
		if err != nil {
			return "missing " + dir
		}
		enabled := strings.Fields(string(data))
		for _, controller := range limiting() {
			if controller != "cpuacct" && m.host.has(controller) && !slices.Contains(enabled, controller) {
				return "missing controller " + controller + " in " + dir
			}
		}
		return ""
	}
	for _, controller := range limiting() {
		mount, ok := m.host.mounts[controller]
		if !ok {
			continue
		}
		dir := filepath.Join(mount, path)
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
			return "missing " + dir
		}
	}
	return ""
}

// complete reports whether a cgroup is there as a whole.
func (m *Manager) complete(n name) bool { return m.missing(n) == "" }

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
