package stats

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs2"
	"golang.org/x/sys/unix"
)

// machine is where this machine tells what its cgroups use.
type machine struct {
	// v2: everything is below unified; else each controller has a mount of its own,
	// empty where the kernel has no such controller.
	v2                                bool
	unified                           string
	cpu, cpuacct, memory, blkio, pids string
	// proc is where /proc is.
	proc string
	// pressure: the kernel accounts for waiting (PSI) in cgroups.
	pressure bool
	// silentIO has a bit for each of v1's files about I/O that tells nothing.
	silentIO atomic.Uint32
	// ticks is how many of the units in cpuacct.stat are a second.
	ticks uint64
}

const (
	procMount = "/proc"
	// userTicks is USER_HZ, which is the same on all of Linux' architectures that Go
	// knows.
	userTicks = 100
)

// lookAtMachine finds the mounts of the cgroup file systems.
func lookAtMachine() (*machine, error) {
	m := &machine{proc: procMount, ticks: userTicks}
	if cgroups.IsCgroup2UnifiedMode() {
		m.v2, m.unified = true, fs2.UnifiedMountpoint
		m.pressure = unix.Access(filepath.Join(m.unified, "cpu.pressure"), unix.R_OK) == nil
		return m, nil
	}
	mounts, err := cgroups.GetCgroupMounts(true)
	if err != nil {
		return nil, fmt.Errorf("read where cgroups are mounted: %w", err)
	}
	for _, mount := range mounts {
		for _, controller := range mount.Subsystems {
			// The same hierarchy may be mounted in containers too: the shortest path is the
			// machine's own.
			if to := m.controller(controller); to != nil && (*to == "" || len(mount.Mountpoint) < len(*to)) {
				*to = mount.Mountpoint
			}
		}
	}
	if m.memory == "" && m.cpuacct == "" {
		return nil, errors.New("no cgroup file system for memory or CPU is mounted; mount cgroup v2 on " + fs2.UnifiedMountpoint)
	}
	return m, nil
}

func (m *machine) controller(name string) *string {
	switch name {
	case "cpu":
		return &m.cpu
	case "cpuacct":
		return &m.cpuacct
	case "memory":
		return &m.memory
	case "blkio":
		return &m.blkio
	case "pids":
		return &m.pids
	}
	return nil
}

// anchor is the hierarchy in which cgroups are looked for.
func (m *machine) anchor() string {
	switch {
	case m.v2:
		return m.unified
	case m.memory != "":
		return m.memory
	default:
		return m.cpuacct
	}
}

// sample reads what is needed of a cgroup. What one file does not tell is left out;
// the error is that of a cgroup that is not there.
func (m *machine) sample(s *scratch, path string, need Need) (Sample, error) {
	if m.v2 {
		return m.sampleV2(s, path, need)
	}
	return m.sampleV1(s, path, need)
}
