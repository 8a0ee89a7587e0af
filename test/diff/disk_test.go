//go:build e2e

package diff

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

const (
	linksDir   = "/var/log/containers"
	cgroupsDir = "/sys/fs/cgroup"
)

// disk collects the pod's logs, its directory and its cgroups.
func (c *collector) disk(s *sight) error {
	logs := filepath.Join(c.bed.PodLogsDir, s.pod.Namespace+"_"+s.pod.Name+"_"+string(s.pod.UID))
	if err := s.tree("logs", logs); err != nil {
		return err
	}
	if err := s.links(logs); err != nil {
		return err
	}
	if err := c.directory(s); err != nil {
		return err
	}
	return c.cgroups(s)
}

func (c *collector) directory(s *sight) error {
	return s.tree("directory", filepath.Join(c.bed.RootDir, "pods", string(s.pod.UID)))
}

// tree takes in the names, modes and owners below a folder. What is mounted
// there is named and not entered.
func (s *sight) tree(name, root string) error {
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s has no owner", path)
		}
		text := fmt.Sprintf("%s %d:%d", info.Mode(), stat.Uid, stat.Gid)
		mounted := path != root && entry.IsDir() && device(filepath.Dir(path)) != stat.Dev
		if mounted {
			text += " mounted"
		}
		s.facts[name+"["+strings.TrimPrefix(path, root)+"]"] = text
		if mounted {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // also: it went meanwhile
		return fmt.Errorf("look at the %s: %w", name, err)
	}
	return nil
}

func device(path string) uint64 {
	var stat syscall.Stat_t
	if err := syscall.Stat(path, &stat); err != nil {
		return 0
	}
	return stat.Dev
}

// linkID is the container's identity in a link's name, which may be cut.
var linkID = regexp.MustCompile(`-[0-9a-f]{8,64}\.log$`)

// links takes in the symlinks to the pod's logs.
func (s *sight) links(logs string) error {
	entries, err := os.ReadDir(linksDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for links to logs: %w", err)
	}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(linksDir, e.Name()))
		if err == nil && strings.HasPrefix(target, logs+"/") {
			s.facts["links["+strings.TrimPrefix(target, logs+"/")+"]"] = linkID.ReplaceAllString(e.Name(), "-$$ID.log")
		}
	}
	return nil
}

// cgroups takes in the pod's cgroups of each controller, and their limits.
func (c *collector) cgroups(s *sight) error {
	controllers, err := os.ReadDir(cgroupsDir)
	if err != nil {
		return fmt.Errorf("list cgroup controllers: %w", err)
	}
	for _, controller := range controllers {
		if !controller.IsDir() {
			continue // another name of one
		}
		top := filepath.Join(cgroupsDir, controller.Name())
		for _, pattern := range []string{"*/pod", "*/*/pod"} {
			found, err := filepath.Glob(filepath.Join(top, c.bed.CgroupRoot, pattern+string(s.pod.UID)))
			if err != nil {
				return fmt.Errorf("look for cgroups: %w", err)
			}
			for _, dir := range found {
				s.cgroup("cgroup["+controller.Name()+"]", strings.TrimPrefix(dir, top), dir)
			}
		}
	}
	return nil
}

func (s *sight) cgroup(name, path, dir string) {
	s.facts[name+".path"] = path
	for _, file := range []string{"cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "memory.limit_in_bytes", "pids.max"} {
		if content, err := os.ReadFile(filepath.Join(dir, file)); err == nil {
			s.facts[name+step(file)] = strings.TrimSpace(string(content))
		}
	}
}
