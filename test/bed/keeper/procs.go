package keeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// proc is a process of the bed.
type proc struct {
	pid, parent int
	start       string // when it started, in ticks: with pid it names one process
	name        string
}

// Identity names one process for good: numbers are given again, but not with
// the same start.
type Identity struct {
	PID   int    `json:"pid"`
	Start string `json:"start"`
}

// Self is the identity of this process.
func Self() Identity {
	p, _ := readProc(os.Getpid())
	return Identity{PID: os.Getpid(), Start: p.start}
}

// Alive reports whether that process still runs.
func (i Identity) Alive() bool {
	p, ok := readProc(i.PID)
	return ok && p.start == i.Start
}

// processes finds the live processes of a bed: those that carry its mark, that
// are in its cgroups, or that descend from such a process.
func processes(s *Spec) ([]proc, error) {
	table, err := processTable()
	if err != nil {
		return nil, err
	}
	inside := map[int]bool{}
	for _, dir := range bedCgroups(s) {
		for _, pid := range cgroupProcesses(dir) {
			inside[pid] = true
		}
	}
	mark := []byte(EnvMark + "=" + s.Dir)
	self := os.Getpid()
	for _, p := range table {
		if inside[p.pid] || p.pid == self {
			continue
		}
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
		if err == nil && slices.ContainsFunc(bytes.Split(environ, []byte{0}), func(v []byte) bool { return bytes.Equal(v, mark) }) {
			inside[p.pid] = true
		}
	}
	delete(inside, self)
	return withDescendants(table, inside, self), nil
}

// withDescendants selects the given processes and everything below them.
func withDescendants(table []proc, inside map[int]bool, self int) []proc {
	for grown := true; grown; {
		grown = false
		for _, p := range table {
			if p.pid != self && !inside[p.pid] && inside[p.parent] {
				inside[p.pid], grown = true, true
			}
		}
	}
	var list []proc
	for _, p := range table {
		if inside[p.pid] {
			list = append(list, p)
		}
	}
	return list
}

func processTable() ([]proc, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var list []proc
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if p, ok := readProc(pid); ok {
			list = append(list, p)
		}
	}
	return list, nil
}

// readProc reads one process; the dead that wait to be reaped do not count.
func readProc(pid int) (proc, bool) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return proc{}, false
	}
	return parseStat(pid, string(content))
}

func parseStat(pid int, stat string) (proc, bool) {
	open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return proc{}, false
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return proc{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return proc{}, false
	}
	return proc{pid: pid, parent: parent, start: fields[19], name: stat[open+1 : end]}, true
}

// killAll ends every process of the bed, again and again until none is left.
func killAll(ctx context.Context, s *Spec) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		thaw(s)
		list, err := processes(s)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes survive SIGKILL: %s", nameProcesses(list))
		}
		for _, p := range list {
			if err := killOne(ctx, p); err != nil {
				return err
			}
		}
	}
}

// killOne kills exactly the process that was seen and waits for its end for a
// moment. The pidfd is opened first and then checked, so that a number given
// to another process meanwhile is never hit.
func killOne(ctx context.Context, p proc) error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d (%s): %w", p.pid, p.name, err)
	}
	defer unix.Close(fd)
	if now, ok := readProc(p.pid); !ok || now.start != p.start {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d (%s): %w", p.pid, p.name, err)
	}
	wait := 500 * time.Millisecond
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline))
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	_, _ = unix.Poll(poll, max(1, int(wait.Milliseconds())))
	return nil
}

func nameProcesses(list []proc) string {
	names := make([]string, 0, len(list))
	for _, p := range list {
		names = append(names, fmt.Sprintf("%d (%s)", p.pid, p.name))
	}
	return strings.Join(names, ", ")
}

// bedCgroups lists the cgroups of the bed that exist: its root in every
// hierarchy and those of containers that were started without a parent.
func bedCgroups(s *Spec) []string {
	hierarchies, err := cgroupMounts()
	if err != nil {
		return nil
	}
	tails := []string{s.CgroupRoot}
	for _, id := range containerIDs(s) {
		tails = append(tails, "/k8s.io/"+id)
	}
	var list []string
	for _, h := range hierarchies {
		for _, tail := range tails {
			dir := filepath.Join(h, tail)
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				list = append(list, dir)
			}
		}
	}
	return list
}

// containerIDs lists what containerd knew of.
func containerIDs(s *Spec) []string {
	var ids []string
	for _, pattern := range []string{
		filepath.Join(s.StateDir(), "io.containerd.runtime.v2.task", "*", "*"),
		filepath.Join(s.Dir, "root", "io.containerd.grpc.v1.cri", "*", "*"),
	} {
		matches, _ := filepath.Glob(pattern)
		for _, m := range matches {
			ids = append(ids, filepath.Base(m))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func cgroupProcesses(dir string) []int {
	var pids []int
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // cgroups vanish while they are read
		}
		content, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for field := range strings.FieldsSeq(string(content)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// thaw lets frozen processes receive the signal that ends them.
func thaw(s *Spec) {
	for _, dir := range bedCgroups(s) {
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil //nolint:nilerr // cgroups vanish while they are read
			}
			for file, value := range map[string]string{"freezer.state": "THAWED", "cgroup.freeze": "0"} {
				name := filepath.Join(path, file)
				if _, err := os.Stat(name); err == nil {
					_ = os.WriteFile(name, []byte(value), 0o644)
				}
			}
			return nil
		})
	}
}
