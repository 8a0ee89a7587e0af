package bedtest

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
)

// Inventory is everything on the machine that pods can leave behind.
func Inventory(ctx context.Context, b *bed.Bed) (map[string]bool, error) {
	found := map[string]bool{}
	left, err := b.Leftovers(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for what is left: %w", err)
	}
	for _, item := range left {
		// The agent has another process each time.
		if !strings.HasSuffix(item, "("+bed.Nodeagent+")") && !strings.HasSuffix(item, "("+bed.Kubelet+")") {
			found[item] = true
		}
	}
	for what, args := range map[string][]string{"sandbox": {"pods", "-q"}, "container": {"ps", "-aq"}} {
		text, err := b.Crictl(ctx, args...)
		if err != nil {
			return nil, fmt.Errorf("look for what is left: %w", err)
		}
		for id := range strings.FieldsSeq(text) {
			found[what+" "+id] = true
		}
	}
	for what, args := range map[string][]string{"snapshot": {"snapshots", "ls"}, "task": {"tasks", "ls"}, "lease": {"leases", "ls"}} {
		text, err := b.Ctr(ctx, args...)
		if err != nil {
			return nil, fmt.Errorf("look for what is left: %w", err)
		}
		for line := range strings.Lines(text) {
			found[what+" "+strings.Fields(line + " -")[0]] = true
		}
	}
	for _, pattern := range []string{
		filepath.Join(b.RootDir, "pods", "*"), filepath.Join(b.PodLogsDir, "*"), filepath.Join(b.Dir, "ipam", "*", "10.*"),
		filepath.Join(b.Dir, "state", "netns", "*"), filepath.Join(b.Dir, "*", "io.containerd.grpc.v1.cri", "*", "*"),
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("look for %s: %w", pattern, err)
		}
		for _, path := range paths {
			found["path "+path] = true
		}
	}
	return found, cgroups(b, found)
}

// LeakLimit is how long after the last pod everything has to be gone. The kubelet
// collects garbage once a minute.
func LeakLimit(b *bed.Bed) time.Duration {
	if b.Agent() == bed.Kubelet {
		return 3 * time.Minute
	}
	return 20 * time.Second
}

// cgroups takes in all cgroups below the bed's, of every controller, but those of
// classes of pods: they are made for the first pod and stay.
func cgroups(b *bed.Bed, found map[string]bool) error {
	classes := []string{"kubepods", "besteffort", "burstable"}
	tops, err := filepath.Glob(filepath.Join("/sys/fs/cgroup", "*", b.CgroupRoot))
	if err != nil {
		return fmt.Errorf("look for cgroups: %w", err)
	}
	for _, top := range append(tops, filepath.Join("/sys/fs/cgroup", b.CgroupRoot)) {
		// What goes while it is looked at is gone.
		_ = filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() && !slices.Contains(classes, entry.Name()) {
				found["cgroup "+path] = true
			}
			return nil
		})
	}
	return nil
}

// Leaks waits until nothing is left that was not there before, and returns what
// is left when that takes too long.
func Leaks(ctx context.Context, b *bed.Bed, before map[string]bool, limit time.Duration) ([]string, error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(limit); ; {
		now, err := Inventory(ctx, b)
		if err != nil {
			return nil, err
		}
		var left []string
		for item := range now {
			if !before[item] {
				left = append(left, item)
			}
		}
		slices.Sort(left)
		if len(left) == 0 || time.Now().After(end) {
			return left, nil
		}
		select {
		case <-ctx.Done():
			return left, fmt.Errorf("wait for nothing to be left: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}
