package etchosts

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/safedir"
)

const (
	podsDir  = "pods"
	fileName = "etc-hosts"
	dirMode  = 0o750
	fileMode = 0o644 // anybody in the container reads it
	nodeFile = "/etc/hosts"
)

// ErrNotAHostsFile tells that something else is where a pod's hosts file or a
// directory on the way to it has to be: a symlink, a FIFO or the like.
var ErrNotAHostsFile = errors.New("the hosts file of a pod is a regular file in directories of its own; " +
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
	return &pod.Failure{Reason: pod.ReasonContainerConfig, Message: fmt.Sprintf("making the hosts file of pod %q: %v", name, err), Err: err}
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
	if !safedir.ValidName(uid) {
		return fmt.Errorf("pod UID %q cannot be the name of a directory", uid)
	}
	dir, err := safedir.Make(f.root, dirMode, podsDir, uid)
	if err != nil {
		return ours(err)
	}
	defer dir.Close()
	// Without O_TRUNC: who reads it meanwhile does not find it empty.
	file, err := dir.File(fileName, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return ours(err)
	}
	return errors.Join(update(file, content), file.Close())
}

// ours says ErrNotAHostsFile of what is in the way.
func ours(err error) error {
	if errors.Is(err, safedir.ErrNotPlain) {
		return fmt.Errorf("%w: %w", err, ErrNotAHostsFile)
	}
	return err
}

// update changes of a file what is not right. It stays the same file: containers
// that have it mounted would not see another one.
func update(file *os.File, content string) error {
	info, err := file.Stat()
	if err != nil {
		return err
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
