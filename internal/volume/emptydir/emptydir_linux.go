package emptydir

import (
	"context"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/mount-utils"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
)

// Name is the plugin's name, part of paths on the disk.
const Name = "kubernetes.io/empty-dir"

const dirMode = os.FileMode(0o777)

// Config is what the plugin needs to know.
type Config struct {
	// AllocatableMemory is what pods may use on this node, in bytes: no volume in
	// memory gets larger. 0 leaves the kernel's limit, half of the memory.
	AllocatableMemory int64
}

// New returns the plugin.
func New(cfg Config) volume.Plugin {
	return &plugin{allocatable: cfg.AllocatableMemory, mounter: mount.New(""), selinux: volume.SELinux()}
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
func (*plugin) Supports(s volume.Spec) bool { return s.Volume.EmptyDir != nil }

// Mount implements [volume.Plugin].
func (p *plugin) Mount(_ context.Context, req volume.Request) (pod.Volume, error) {
	source := req.Volume.EmptyDir
	switch {
	case source.Medium == corev1.StorageMediumDefault, source.Medium == corev1.StorageMediumMemory, isHugePages(source.Medium):
	default:
		return pod.Volume{}, fmt.Errorf("unknown storage medium %q", source.Medium)
	}
	done := pod.Volume{HostPath: req.Ref.Dir(), SELinux: p.selinux}
	mounted, err := req.Ref.Mounted()
	if err != nil {
		return pod.Volume{}, err
	}
	if mounted == hugetlbfs {
		if err := samePageSize(req.Ref.Dir(), source.Medium, req.Pod); err != nil {
			return pod.Volume{}, err
		}
	}
	onDisk := source.Medium == corev1.StorageMediumDefault
	if req.Ref.Ready() && (mounted != "" || onDisk && req.Ref.Made()) {
		return done, nil // modes and owners are the pod's business now
	}
	if mounted == "" {
		if err := p.setUp(req, source); err != nil {
			return pod.Volume{}, err
		}
	}
	if err := req.Ref.GiveTo(volume.Group(req.Pod)); err != nil {
		return pod.Volume{}, err
	}
	if err := req.Ref.SetReady(); err != nil {
		return pod.Volume{}, err
	}
	return done, nil
}

// setUp makes the directory and mounts on it what the medium asks for. A tmpfs
// has the kernel's modes then, 1777, and a hugetlbfs 0755, as under the kubelet.
func (p *plugin) setUp(req volume.Request, source *corev1.EmptyDirVolumeSource) error {
	var pageSize string
	if isHugePages(source.Medium) {
		var err error
		if pageSize, err = pageSizeOf(source.Medium, req.Pod); err != nil {
			return err
		}
	}
	if err := req.Ref.Make(dirMode); err != nil {
		return err
	}
	switch {
	case pageSize != "":
		return p.mountHugePages(req.Ref.Dir(), pageSize)
	case source.Medium == corev1.StorageMediumMemory:
		var limit int64
		if source.SizeLimit != nil {
			limit = source.SizeLimit.Value()
		}
		return req.Ref.MountMemory(volume.MemoryLimit(req.Pod, p.allocatable, limit))
	}
	return nil
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
