package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	killTries = 5
	killPause = 20 * time.Millisecond
)

// Remove kills whatever still runs in the pod's cgroup and removes it. It needs
// no spec: all classes are looked through. A pod without a cgroup is a success.
func (m *Manager) Remove(ctx context.Context, ref pod.Ref) error {
	if !m.cfg.PerQOS {
		return nil
	}
	if err := validUID(ref.UID); err != nil {
		return err
	}
	for _, class := range classes() {
		if err := m.remove(ctx, m.podName(class, ref.UID)); err != nil {
			return fmt.Errorf("remove the cgroup of pod %s (%s): %w", ref, ref.UID, err)
		}
	}
	m.adopt()
	m.forget(ref.UID)
	m.settle()
	return nil
}

// Reduce leaves a pod that has ended the least CPU there is, for as long as its
// cgroup has to stay. It needs no spec, and a pod without a cgroup is a success.
func (m *Manager) Reduce(ctx context.Context, ref pod.Ref) error {
	if !m.cfg.PerQOS {
		return nil
	}
	if err := validUID(ref.UID); err != nil {
		return err
	}
	for _, class := range classes() {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("reduce the CPU shares of pod %s: %w", ref, err)
		}
		n := m.podName(class, ref.UID)
		if !m.complete(n) {
			continue
		}
		if err := m.set(n, Limits{CPUShares: minShares}); err != nil {
			return fmt.Errorf("reduce the CPU shares of pod %s (%s): %w", ref, ref.UID, err)
		}
	}
	return nil
}

func (m *Manager) remove(ctx context.Context, n name) error {
	path := n.path(m.cfg.Driver)
	dirs, err := m.host.existing(path)
	if err != nil {
		return err
	}
	if m.cfg.Driver != Systemd { // of a pod that ended well nothing is left in there
		dirs = slices.DeleteFunc(dirs, func(dir string) bool { return unix.Rmdir(dir) == nil })
	}
	if len(dirs) == 0 {
		return nil
	}
	if err := kill(ctx, dirs); err != nil {
		return err
	}
	if m.cfg.Driver == Systemd { // it remembers units, and would make the slice again
		handle, err := m.handle(n)
		if err != nil {
			return err
		}
		if err := handle.Destroy(); err != nil {
			return fmt.Errorf("stop slice: %w", err)
		}
	}
	for _, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := cgroups.RemovePath(dir); err != nil { // children first, busy ones again
			return fmt.Errorf("remove %s: %w", dir, err)
		}
	}
	return nil
}

// kill ends all processes in the directories and below. One try is not always
// enough: what is killed may have forked meanwhile.
func kill(ctx context.Context, dirs []string) error {
	for try := range killTries {
		pids, err := processes(dirs)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if slices.Contains(pids, os.Getpid()) {
			return errors.New("the agent itself runs in there: not touched")
		}
		if !killAtOnce(dirs) {
			thaw(dirs)
			if err := killEach(pids); err != nil {
				return err
			}
		}
		select {
		case <-time.After(killPause << try):
		case <-ctx.Done():
			return fmt.Errorf("wait for %d killed processes: %w", len(pids), ctx.Err())
		}
	}
	pids, err := processes(dirs)
	if err != nil || len(pids) == 0 {
		return err
	}
	return fmt.Errorf("%d processes survive SIGKILL, the first is %d", len(pids), pids[0])
}

// killAtOnce lets the kernel end a whole cgroup of version 2: what forks cannot
// get away, and no process ID can be another's by now. Kernels before 5.14 and
// cgroup v1 cannot.
func killAtOnce(dirs []string) bool {
	if len(dirs) != 1 {
		return false
	}
	file, err := os.OpenFile(filepath.Join(dirs[0], "cgroup.kill"), os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	_, err = file.WriteString("1")
	return errors.Join(err, file.Close()) == nil
}

func killEach(pids []int) error {
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
	}
	return nil
}

// processes lists the processes in the directories and below, sorted.
func processes(dirs []string) ([]int, error) {
	found := map[int]bool{}
	for _, dir := range dirs {
		pids, err := cgroups.GetAllPids(dir)
		if err != nil && !gone(err) {
			return nil, fmt.Errorf("list the processes of %s: %w", dir, err)
		}
		for _, pid := range pids {
			if pid > 1 {
				found[pid] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// thaw lets frozen processes run, so that they can die. Only v1 needs it, and
// what it fails at shows in the processes that stay.
func thaw(dirs []string) {
	for _, dir := range dirs {
		if _, err := os.Lstat(filepath.Join(dir, "freezer.state")); err != nil {
			continue
		}
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = os.WriteFile(filepath.Join(path, "freezer.state"), []byte("THAWED"), 0)
			}
			return nil
		})
	}
}

// Pods returns the UIDs of the pods that have a cgroup, in any hierarchy.
func (m *Manager) Pods() ([]types.UID, error) {
	if !m.cfg.PerQOS {
		return nil, nil
	}
	found := map[types.UID]bool{}
	for _, class := range classes() {
		uids, err := m.podsOf(class)
		if err != nil {
			return nil, err
		}
		for _, uid := range uids {
			found[uid] = true
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// podsOf are the pods of a class that have a cgroup, some of them maybe more than
// once.
func (m *Manager) podsOf(class corev1.PodQOSClass) ([]types.UID, error) {
	var found []types.UID
	parent := m.pods.class(class)
	for _, dir := range m.host.dirs(parent.path(m.cfg.Driver)) {
		entries, err := os.ReadDir(dir)
		if gone(err) {
			continue
		}
		if err != nil {
			return found, fmt.Errorf("list the pods in cgroup %s: %w", dir, err)
		}
		for _, e := range entries {
			if uid, ok := parent.podIn(m.cfg.Driver, e.Name()); ok && e.IsDir() {
				found = append(found, uid)
			}
		}
	}
	return found, nil
}

// gone is what the kernel says of a cgroup that is removed, or being removed.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}
