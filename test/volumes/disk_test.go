//go:build e2e || volumeload

package volumes

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// podDir is the folder that the agent keeps for a pod.
func (s *site) podDir(p *corev1.Pod) string {
	return filepath.Join(s.b.RootDir, "pods", string(p.UID))
}

// mountPoints are the places below a folder where something is mounted, and what.
func mountPoints(dir string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	defer func() { _ = f.Close() }()
	var found []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if at := fields[4]; at == dir || strings.HasPrefix(at, dir+"/") {
			found = append(found, fields[0]+" "+at+" "+fields[3])
		}
	}
	slices.Sort(found)
	return found, nil
}

func mountsOf(t testing.TB, s *site, p *corev1.Pod) []string {
	t.Helper()
	found, err := mountPoints(s.podDir(p))
	must(t, "looking for mounts", err)
	return found
}

// fingerprint tells everything about a tree that an attack could change: type,
// mode, owner, target and content by path. What goes meanwhile is left out.
func fingerprint(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // it is gone
		}
		info, err := entry.Info()
		if err != nil {
			return nil
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("look at %s: %T", path, info.Sys())
		}
		text := fmt.Sprintf("%s %d:%d dev %x", info.Mode(), stat.Uid, stat.Gid, stat.Rdev)
		switch {
		case info.Mode().IsRegular():
			content, _ := os.ReadFile(path)
			text += fmt.Sprintf(" %x", sha256.Sum256(content))
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			text += " -> " + target
		}
		found[path] = text
		return nil
	})
	must(t, "looking at "+dir, err)
	return found
}

// outside is a folder that is no business of pods: what is in it must not be read,
// changed, added to or deleted.
type outside struct {
	dir   string
	files map[string]string
}

// forbidden is what is in the files of an outside.
const forbidden = "forbidden-content"

// newOutside makes one.
func (s *site) newOutside(name string) *outside {
	s.t.Helper()
	dir := s.folder("outside-" + name)
	must(s.t, "closing a folder", os.Chmod(dir, 0o755))
	must(s.t, "making a folder", os.Mkdir(filepath.Join(dir, "below"), 0o700))
	for _, file := range []string{"file", "a", "secret", "below/file"} {
		must(s.t, "writing a file", os.WriteFile(filepath.Join(dir, file), []byte(forbidden), 0o600))
	}
	return &outside{dir, fingerprint(s.t, dir)}
}

// untouched checks that everything is as it was.
func (s *site) untouched(o *outside) {
	s.t.Helper()
	now := fingerprint(s.t, o.dir)
	for path, was := range o.files {
		if now[path] != was {
			s.weak("outside the volume %s was %q, is now %q", path, was, now[path])
		}
	}
	for path, is := range now {
		if o.files[path] == "" {
			s.weak("outside the volume %s is new: %q", path, is)
		}
	}
}
