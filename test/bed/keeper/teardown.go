package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// runner runs a helper program to its end and returns what it printed.
type runner func(ctx context.Context, argv ...string) (string, error)

// teardown removes everything the bed made, going on after failures. All beds
// of the machine share the folder above the bed's, and its lock.
func teardown(ctx context.Context, s *Spec, run runner) []string {
	var failed []string
	note := func(err error) {
		if err != nil {
			failed = append(failed, err.Error())
		}
	}
	note(killAll(ctx, s))
	note(unmountAll(s.Dir))
	note(removeLinks(s))
	note(removeRules(ctx, s, run))
	note(removeCgroups(s))
	unlock, err := LockBase(ctx, filepath.Dir(s.Dir))
	if err != nil {
		return append(failed, err.Error())
	}
	defer unlock()
	note(removeOutside(ctx, s, run))
	if len(failed) == 0 {
		note(removeFolder(s.Dir))
	}
	return failed
}

// removeFolder removes the description last: as long as anything is there, it
// tells what it belongs to.
func removeFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the bed's folder: %w", err)
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if path == specPath(dir) {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove the bed's folder: %w", err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the bed's folder: %w", err)
	}
	return nil
}

// unmountAll unmounts everything at and below dir, the deepest first.
func unmountAll(dir string) error {
	for range 5 {
		points, err := mountsBelow(dir)
		if err != nil || len(points) == 0 {
			return err
		}
		for _, point := range slices.Backward(points) {
			if err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW); err != nil {
				_ = unix.Unmount(point, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
			}
		}
	}
	points, err := mountsBelow(dir)
	if err == nil && len(points) > 0 {
		err = fmt.Errorf("still mounted: %s", strings.Join(points, ", "))
	}
	return err
}

// mountsBelow lists mount points in the order they were mounted.
func mountsBelow(dir string) ([]string, error) {
	all, err := mounts()
	if err != nil {
		return nil, err
	}
	var points []string
	for _, m := range all {
		if m.point == dir || strings.HasPrefix(m.point, dir+"/") {
			points = append(points, m.point)
		}
	}
	return points, nil
}

// links lists the bed's bridge and the devices attached to it.
func links(s *Spec) ([]netlink.Link, error) {
	all, err := allLinks()
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	var list []netlink.Link
	master := -1
	for _, l := range all {
		if l.Attrs().Name == s.Bridge && l.Type() == "bridge" {
			master = l.Attrs().Index
			list = append(list, l)
		}
	}
	for _, l := range all {
		if master > 0 && l.Attrs().MasterIndex == master {
			list = append(list, l)
		}
	}
	return list, nil
}

// allLinks lists the machine's network devices. The kernel says when a device
// came or went while it listed them, which is usual next to other beds: such a
// list is asked for again.
func allLinks() ([]netlink.Link, error) {
	for range 100 {
		all, err := netlink.LinkList()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return nil, netlink.ErrDumpInterrupted
}

func removeLinks(s *Spec) error {
	list, err := links(s)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range slices.Backward(list) {
		var gone netlink.LinkNotFoundError
		if err := netlink.LinkDel(l); err != nil && !errors.As(err, &gone) && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("delete network device %s: %w", l.Attrs().Name, err))
		}
	}
	return errors.Join(errs...)
}

// removeCgroups removes the bed's cgroups; the kernel may need a moment after
// the last process ended.
func removeCgroups(s *Spec) error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		var last error
		for _, dir := range bedCgroups(s) {
			last = errors.Join(last, removeCgroup(dir))
		}
		if last == nil || time.Now().After(deadline) {
			return last
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func removeCgroup(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list cgroups below %s: %w", dir, err)
	}
	for _, d := range slices.Backward(dirs) {
		if err := unix.Rmdir(d); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove cgroup %s: %w", d, err)
		}
	}
	return nil
}

// Clean removes a bed whose keeper is gone, from what is on disk.
func Clean(ctx context.Context, dir string) ([]string, error) {
	s, err := Load(dir)
	if err == nil {
		return teardown(ctx, s, execute), nil
	}
	// A start interrupted before the description was complete made only this
	// folder; under the lock no start is that far just now.
	unlock, err := LockBase(ctx, filepath.Dir(dir))
	if err != nil {
		return nil, err
	}
	_, err = Load(dir)
	if err != nil {
		err = errors.Join(unmountAll(dir), os.RemoveAll(dir))
		unlock()
		if err != nil {
			return nil, fmt.Errorf("clean %s: %w", dir, err)
		}
		return nil, nil
	}
	unlock()
	return nil, fmt.Errorf("another process is starting the bed in %s", dir)
}

// Leftovers lists everything of the bed that exists right now: processes,
// mounts, cgroups, network devices, iptables rules and folders.
func Leftovers(ctx context.Context, s *Spec) ([]string, error) {
	var list []string
	procs, err := processes(s)
	if err != nil {
		return nil, err
	}
	for _, p := range procs {
		list = append(list, fmt.Sprintf("process %d (%s)", p.pid, p.name))
	}
	points, err := mountsBelow(s.Dir)
	if err != nil {
		return nil, err
	}
	for _, p := range points {
		list = append(list, "mount "+p)
	}
	for _, c := range bedCgroups(s) {
		list = append(list, "cgroup "+c)
	}
	devices, err := links(s)
	if err != nil {
		return nil, err
	}
	for _, l := range devices {
		list = append(list, "network device "+l.Attrs().Name)
	}
	rules, err := bedRules(ctx, s, execute)
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		list = append(list, "iptables "+r)
	}
	for _, f := range outsideFiles(s) {
		list = append(list, "file "+f)
	}
	if _, err := os.Stat(s.Dir); err == nil {
		list = append(list, "folder "+s.Dir)
	}
	return list, nil
}
