package etchosts

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	podsDir  = "pods"
	fileName = "etc-hosts"
	dirMode  = 0o750
	fileMode = 0o644 // anybody in the container reads it
	nodeFile = "/etc/hosts"

	// reason is what users see of a container whose file cannot be made (kubelet:
	// kuberuntime_container.go).
	reason = "CreateContainerConfigError"
)

// ErrNotAHostsFile tells that something else is where a pod's hosts file or a
// directory on the way to it has to be: a symlink, a FIFO or the like.
var ErrNotAHostsFile = errors.New("a hosts file is a regular file, and symlinks are not followed to it; " +
	"remove what is there, it will be made anew")

// Config says where the files are.
type Config struct {
	// RootDir is the node's root directory, an absolute path.
	RootDir string
	// NodeHosts is the node's own hosts file, an absolute path; empty: /etc/hosts.
	NodeHosts string
}

// Files makes the files. Calls for different pods may be made at the same time;
// those for one pod, by its worker, one after the other.
type Files struct {
	root, node string
}

// New returns the files below the root directory, which need not exist yet.
func New(cfg Config) (*Files, error) {
	node := cmp.Or(cfg.NodeHosts, nodeFile)
	for what, path := range map[string]string{"root directory": cfg.RootDir, "the node's hosts file": node} {
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("making hosts files of pods: %s %q is not an absolute path", what, path)
		}
	}
	return &Files{root: filepath.Clean(cfg.RootDir), node: node}, nil
}

// Ensure makes the hosts file of a pod say what it has to and returns its path. It
// returns no path for a pod with a network of its own that has no addresses yet,
// which has no such file. The names are those of containerspec.HostnameAndDomain;
// on the host network neither they nor the addresses count.
//
// An error is a [pod.Failure] with reason CreateContainerConfigError, as which the
// kubelet reports it.
func (f *Files) Ensure(p *corev1.Pod, podIPs []string, hostname, hostDomain string) (path string, err error) {
	if p == nil {
		return "", failure("", errors.New("no pod was given"))
	}
	if len(podIPs) == 0 && !p.Spec.HostNetwork {
		return "", nil
	}
	content, err := f.content(p, podIPs, hostname, hostDomain)
	if err != nil {
		return "", failure(p.Name, err)
	}
	if err := f.write(string(p.UID), content); err != nil {
		return "", failure(p.Name, err)
	}
	return filepath.Join(f.root, podsDir, string(p.UID), fileName), nil
}

func failure(name string, err error) error {
	return &pod.Failure{Reason: reason, Message: fmt.Sprintf("making the hosts file of pod %q: %v", name, err), Err: err}
}

func (f *Files) content(p *corev1.Pod, podIPs []string, hostname, hostDomain string) (string, error) {
	if !p.Spec.HostNetwork {
		return podContent(podIPs, hostname, hostDomain, p.Spec.HostAliases)
	}
	node, err := os.ReadFile(f.node) // the administrator's, who may have made it a symlink
	if err != nil {
		return "", fmt.Errorf("the pod is on the host network, and the node's hosts file cannot be read: %w", err)
	}
	return nodeContent(string(node), p.Spec.HostAliases)
}

func (f *Files) write(uid, content string) error {
	if !validName(uid) {
		return fmt.Errorf("pod UID %q cannot be the name of a directory", uid)
	}
	dir, err := f.open(podsDir, uid)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	// Without O_TRUNC: who reads it meanwhile does not find it empty. O_NONBLOCK is
	// for what else than a file may be there.
	fd, err := openat(dir, fileName, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, fileMode)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), fileName)
	return errors.Join(update(file, content), file.Close())
}

// update changes of a file what is not right. It stays the same file: containers
// that have it mounted would not see another one.
func update(file *os.File, content string) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", file.Name(), ErrNotAHostsFile)
	}
	if info.Mode() != fileMode { // by the umask, or by a container
		if err := file.Chmod(fileMode); err != nil {
			return err
		}
	}
	if has(file, info.Size(), content) {
		return nil
	}
	if _, err := file.WriteAt([]byte(content), 0); err != nil {
		return err
	}
	return file.Truncate(int64(len(content)))
}

// has says whether a file of some size has the content. It reads no more than that:
// containers may have made the file as long as they like.
func has(file *os.File, size int64, content string) bool {
	if size != int64(len(content)) {
		return false
	}
	now := make([]byte, len(content))
	n, _ := file.ReadAt(now, 0) // what cannot be read is written again
	return string(now[:n]) == content
}

// open opens a directory below the root, step by step and without following a
// symlink; what is missing is made.
func (f *Files) open(names ...string) (int, error) {
	if err := os.MkdirAll(f.root, dirMode); err != nil {
		return -1, err
	}
	dir, err := openat(unix.AT_FDCWD, f.root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	for _, name := range names {
		if err := unix.Mkdirat(dir, name, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			_ = unix.Close(dir)
			return -1, fmt.Errorf("make directory %q: %w", name, err)
		}
		next, err := openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		_ = unix.Close(dir)
		if err != nil {
			return -1, err
		}
		dir = next
	}
	return dir, nil
}

// openat says ErrNotAHostsFile where something else than a file or a directory was
// found.
func openat(dir int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, mode)
		switch {
		case err == nil:
			return fd, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENXIO), errors.Is(err, unix.EISDIR):
			return -1, fmt.Errorf("open %q: %w: %w", name, err, ErrNotAHostsFile)
		default:
			return -1, fmt.Errorf("open %q: %w", name, err)
		}
	}
}

// validName says whether a name can be one element of a path.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= unix.NAME_MAX && !strings.ContainsAny(name, "/\x00")
}
