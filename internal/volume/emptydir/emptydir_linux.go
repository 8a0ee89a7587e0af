package emptydir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
	"k8s.io/mount-utils"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
)

// Name is the plugin's name, part of paths on the disk.
const Name = "kubernetes.io/empty-dir"

const (
	dirMode = os.FileMode(0o777)
	// groupMode is what an fsGroup gets: everything, and new files are its own.
	groupMode = os.FileMode(0o770) | os.ModeSetgid
)

// Config is what the plugin needs to know.
type Config struct {
	// AllocatableMemory is what pods may use on this node, in bytes: no volume in
	// memory gets larger. 0 leaves the kernel's limit, half of the memory.
	AllocatableMemory int64
}

// New returns the plugin.
func New(cfg Config) volume.Plugin {
	return &plugin{allocatable: cfg.AllocatableMemory, mounter: mount.New(""), selinux: selinux()}
}

// selinux reports whether the kernel labels files.
func selinux() bool {
	var fs unix.Statfs_t
	err := unix.Statfs("/sys/fs/selinux", &fs)
	return err == nil && uint32(fs.Type) == unix.SELINUX_MAGIC
}

type plugin struct {
	allocatable int64
	mounter     mount.Interface
	// selinux: content has to be relabelled for the containers.
	selinux bool
}

// Name implements [volume.Plugin].
func (*plugin) Name() string { return Name }

// Supports implements [volume.Plugin].
func (*plugin) Supports(v *corev1.Volume) bool { return v.EmptyDir != nil }

// Mount implements [volume.Plugin].
func (p *plugin) Mount(_ context.Context, req volume.Request) (pod.Volume, error) {
	source := req.Volume.EmptyDir
	switch {
	case source.Medium == corev1.StorageMediumDefault, source.Medium == corev1.StorageMediumMemory:
	case strings.HasPrefix(string(source.Medium), string(corev1.StorageMediumHugePages)):
		return pod.Volume{}, fmt.Errorf("storage medium %q is not supported yet by this version of nodeagent", source.Medium)
	default:
		return pod.Volume{}, fmt.Errorf("unknown storage medium %q", source.Medium)
	}
	done := pod.Volume{HostPath: req.Ref.Dir(), SELinux: p.selinux}
	mounted, err := req.Ref.Mounted()
	if err != nil {
		return pod.Volume{}, err
	}
	inMemory := source.Medium == corev1.StorageMediumMemory
	if req.Ref.Ready() && (mounted != "" || !inMemory && exists(req.Ref.Dir())) {
		return done, nil // modes and owners are the pod's business now
	}
	if mounted == "" {
		if err := req.Ref.Make(dirMode); err != nil {
			return pod.Volume{}, err
		}
		if inMemory {
			if err := p.mountTmpfs(req.Ref.Dir(), p.size(req.Pod, source)); err != nil {
				return pod.Volume{}, err
			}
		}
	}
	if err := giveToGroup(req.Ref.Dir(), req.Pod); err != nil {
		return pod.Volume{}, err
	}
	if err := req.Ref.SetReady(); err != nil {
		return pod.Volume{}, err
	}
	return done, nil
}

func exists(dir string) bool {
	info, err := os.Lstat(dir)
	return err == nil && info.IsDir()
}

// Unmount implements [volume.Plugin].
func (*plugin) Unmount(ctx context.Context, ref volume.Ref) error {
	if err := ref.ClearReady(); err != nil {
		return err
	}
	if err := ref.Unmount(ctx); err != nil {
		return err
	}
	return ref.Remove(ctx)
}

func (p *plugin) mountTmpfs(dir string, size int64) error {
	var options []string
	if size > 0 {
		options = append(options, "size="+strconv.FormatInt(size, 10))
	}
	// Secrets may be written here: keep them off the swap where the kernel can
	// (6.4 and later).
	err := p.mounter.MountSensitiveWithoutSystemd("tmpfs", dir, "tmpfs", append(options, "noswap"), nil)
	if err == nil {
		return nil
	}
	if retried := p.mounter.MountSensitiveWithoutSystemd("tmpfs", dir, "tmpfs", options, nil); retried != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, errors.Join(retried, err))
	}
	return nil
}

// size is the smallest of what the volume asks for, what the pod may use and
// what all pods may use; 0 when nothing limits it.
func (p *plugin) size(pd *corev1.Pod, source *corev1.EmptyDirVolumeSource) int64 {
	size := p.allocatable
	tighten := func(limit int64) {
		if limit > 0 && (size == 0 || limit < size) {
			size = limit
		}
	}
	if limited(pd) {
		limits := resource.PodLimits(pd, resource.PodResourcesOptions{})
		tighten(limits.Memory().Value())
	}
	if source.SizeLimit != nil {
		tighten(source.SizeLimit.Value())
	}
	return size
}

// limited reports whether the pod as a whole has a memory limit: its own, or one
// on every container.
func limited(p *corev1.Pod) bool {
	if p.Spec.Resources != nil && !p.Spec.Resources.Limits.Memory().IsZero() {
		return true
	}
	for i := range p.Spec.InitContainers {
		if p.Spec.InitContainers[i].Resources.Limits.Memory().IsZero() {
			return false
		}
	}
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].Resources.Limits.Memory().IsZero() {
			return false
		}
	}
	return true
}

// giveToGroup makes the volume's directory, which is still empty, belong to the
// pod's fsGroup.
func giveToGroup(dir string, p *corev1.Pod) error {
	if p.Spec.SecurityContext == nil || p.Spec.SecurityContext.FSGroup == nil {
		return nil
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	if err := f.Chown(-1, int(*p.Spec.SecurityContext.FSGroup)); err != nil {
		return fmt.Errorf("give %s to the fsGroup: %w", dir, err)
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	if err := f.Chmod(info.Mode() | groupMode); err != nil {
		return fmt.Errorf("give %s to the fsGroup: %w", dir, err)
	}
	return nil
}
