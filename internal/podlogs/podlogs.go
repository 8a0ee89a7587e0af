package podlogs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// Where the kubelet has them.
const (
	DefaultPodsDir  = "/var/log/pods"
	DefaultLinksDir = "/var/log/containers"
)

const (
	dirMode   = 0o755
	suffix    = ".log"
	maxLength = 255 // of a file name
)

// Config says where the logs live. Empty means the default.
type Config struct {
	PodsDir  string
	LinksDir string
}

// Logs makes and removes log directories and symlinks. It holds no state, and
// all its calls are idempotent.
type Logs struct {
	pods  string
	links string
}

// New returns the logs below the two directories, which it creates.
func New(cfg Config) (*Logs, error) {
	l := &Logs{pods: cfg.PodsDir, links: cfg.LinksDir}
	if l.pods == "" {
		l.pods = DefaultPodsDir
	}
	if l.links == "" {
		l.links = DefaultLinksDir
	}
	for _, dir := range []string{l.pods, l.links} {
		if !filepath.IsAbs(dir) {
			return nil, fmt.Errorf("log directory %q is not an absolute path", dir)
		}
		if err := os.MkdirAll(dir, dirMode); err != nil {
			return nil, fmt.Errorf("make log directory: %w", err)
		}
	}
	return l, nil
}

// EnsureDir makes the directory that a container's logs go to, or only the
// pod's when container is empty.
func (l *Logs) EnsureDir(ref pod.Ref, container string) error {
	if err := valid(ref, container); err != nil {
		return err
	}
	root, err := os.OpenRoot(l.pods)
	if err != nil {
		return fmt.Errorf("open log directory: %w", err)
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Join(podDir(ref), container), dirMode); err != nil {
		return fmt.Errorf("make log directory of pod %s: %w", ref, err)
	}
	return nil
}

// Link makes the symlink to a container instance's log. Where the runtime wrote
// no file there is nothing to link to, which is fine.
func (l *Logs) Link(ref pod.Ref, container, id string, attempt int) error {
	if err := errors.Join(valid(ref, container), safe("container ID", id)); err != nil {
		return err
	}
	target := filepath.Join(l.pods, podDir(ref), containerspec.LogPath(container, attempt))
	if _, err := os.Lstat(target); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	root, err := os.OpenRoot(l.links)
	if err != nil {
		return fmt.Errorf("open directory of log symlinks: %w", err)
	}
	defer root.Close()
	link := linkName(ref, container, id)
	if old, err := root.Readlink(link); err == nil {
		if old == target {
			return nil
		}
		if err := root.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("replace log symlink: %w", err)
		}
	}
	if err := root.Symlink(target, link); err != nil {
		return fmt.Errorf("link log of container %s of pod %s: %w", container, ref, err)
	}
	return nil
}

// RemoveContainer removes the log of a container instance, its rotated files,
// and its symlink.
func (l *Logs) RemoveContainer(ref pod.Ref, container, id string, attempt int) error {
	if err := errors.Join(valid(ref, container), safe("container ID", id)); err != nil {
		return err
	}
	err := errors.Join(
		l.removeFiles(filepath.Join(podDir(ref), containerspec.LogPath(container, attempt))),
		l.removeLinks(func(name, _ string) bool { return name == linkName(ref, container, id) }))
	if err != nil {
		return fmt.Errorf("remove logs of container %s of pod %s: %w", container, ref, err)
	}
	return nil
}

// RemovePod removes all logs of a pod and the symlinks to them. The UID alone
// is enough when the names are not known.
func (l *Logs) RemovePod(ref pod.Ref) error {
	if ref.Name == "" && ref.Namespace == "" {
		return l.removeByUID(ref.UID)
	}
	if err := valid(ref, ""); err != nil {
		return err
	}
	root, err := os.OpenRoot(l.pods)
	if err != nil {
		return fmt.Errorf("open log directory: %w", err)
	}
	defer root.Close()
	// A pod that was deleted and made again has the same name: only symlinks into
	// this one's directory go.
	prefix, dir := ref.FullName()+"_", filepath.Join(l.pods, podDir(ref))+"/"
	err = errors.Join(
		root.RemoveAll(podDir(ref)),
		l.removeLinks(func(name, target string) bool {
			return strings.HasPrefix(name, prefix) && strings.HasPrefix(target, dir)
		}))
	if err != nil {
		return fmt.Errorf("remove logs of pod %s: %w", ref, err)
	}
	return nil
}

func (l *Logs) removeByUID(uid types.UID) error {
	if err := safe("pod UID", string(uid)); err != nil {
		return err
	}
	refs, err := l.Pods()
	if err != nil {
		return err
	}
	var failed []error
	for _, ref := range refs {
		if ref.UID == uid {
			failed = append(failed, l.RemovePod(ref))
		}
	}
	return errors.Join(failed...)
}

// removeFiles removes a log file and what rotation made of it.
func (l *Logs) removeFiles(name string) error {
	root, err := os.OpenRoot(l.pods)
	if err != nil {
		return err
	}
	defer root.Close()
	dir, err := root.OpenRoot(filepath.Dir(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return err
	}
	base := filepath.Base(name)
	var failed []error
	for _, e := range entries {
		if e.Name() != base && !strings.HasPrefix(e.Name(), base+".") || e.IsDir() {
			continue
		}
		if err := dir.Remove(e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// removeLinks removes the symlinks that drop chooses. What is no symlink is not
// ours.
func (l *Logs) removeLinks(drop func(name, target string) bool) error {
	root, err := os.OpenRoot(l.links)
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	var failed []error
	for _, e := range entries {
		if e.Type() != fs.ModeSymlink {
			continue
		}
		target, err := root.Readlink(e.Name())
		if err != nil || !drop(e.Name(), target) {
			continue
		}
		if err := root.Remove(e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// podDir is the pod's directory below the directory of pods.
func podDir(ref pod.Ref) string {
	return filepath.Base(containerspec.LogDirectory("/", ref.Namespace, ref.Name, ref.UID))
}

func linkName(ref pod.Ref, container, id string) string {
	name := ref.FullName() + "_" + container + "-" + id
	return name[:min(len(name), maxLength-len(suffix))] + suffix
}

var safeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func safe(what, name string) error {
	if !safeName.MatchString(name) {
		return fmt.Errorf("%s %q cannot be part of a log's name", what, name)
	}
	return nil
}

func valid(ref pod.Ref, container string) error {
	err := errors.Join(safe("pod namespace", ref.Namespace), safe("pod name", ref.Name), safe("pod UID", string(ref.UID)))
	if container != "" {
		err = errors.Join(err, safe("container name", container))
	}
	return err
}
