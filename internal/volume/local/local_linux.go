package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/mount-utils"
	"k8s.io/utils/exec"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/claim"
	"nodeagent.dev/nodeagent/internal/volume/ownership"
)

// Name is the plugin's name.
const Name = "kubernetes.io/local-volume"

// reasonAlreadyMounted is the reason of the event about pods that share a volume and
// want it for different groups.
const reasonAlreadyMounted = "AlreadyMountedVolume"

const (
	// dirMode is what the kubelet gives the directories it mounts on.
	dirMode       = 0o750
	defaultFSType = "ext4"
)

// New returns the plugin.
func New(log *zap.Logger) volume.Plugin {
	mounter := mount.New("")
	return &plugin{
		log: log, selinux: volume.SELinux(), mounter: mounter,
		disks: mount.NewSafeFormatAndMount(mounter, exec.New()),
		locks: locks{held: map[string]chan struct{}{}},
	}
}

type plugin struct {
	log     *zap.Logger
	mounter mount.Interface
	disks   *mount.SafeFormatAndMount
	// selinux: content has to be relabelled for the containers.
	selinux bool
	// locks are by the path that is bound: pods that share a volume decide one after
	// the other whether they are the first, or the last.
	locks locks
}

// Name implements [volume.Plugin].
func (*plugin) Name() string { return Name }

// Supports implements [volume.Plugin].
func (*plugin) Supports(s volume.Spec) bool {
	return s.Persistent != nil && s.Persistent.Spec.Local != nil
}

// Mount implements [volume.Plugin].
func (p *plugin) Mount(ctx context.Context, req volume.Request) (pod.Volume, error) {
	done := pod.Volume{HostPath: req.Ref.Dir(), ReadOnly: req.ReadOnly, SELinux: p.selinux}
	pv := req.Persistent
	if mode := pv.Spec.VolumeMode; mode != nil && *mode == corev1.PersistentVolumeBlock {
		return pod.Volume{}, errors.New("local volumes of volumeMode Block are not supported by this version of nodeagent")
	}
	// Whatever has become of what was mounted, it is not looked at.
	if mounted, err := req.Ref.Mounted(); err != nil || mounted != "" {
		return done, err
	}
	path, disk, err := find(pv.Spec.Local.Path)
	if err != nil {
		return pod.Volume{}, claim.Failed("MountVolume.NewMounter initialization failed", pv.Name, err)
	}
	bound := path
	if disk {
		bound = globalDir(req.Ref)
	}
	unlock, err := p.locks.take(ctx, bound)
	if err != nil {
		return pod.Volume{}, fmt.Errorf("wait for other pods with the same local volume: %w", err)
	}
	defer unlock()
	// Two volumes of a pod may name the same claim.
	if mounted, err := req.Ref.Mounted(); err != nil || mounted != "" {
		return done, err
	}
	if err := exclusive(req); err != nil {
		return pod.Volume{}, err
	}
	if disk {
		if err := p.mountDisk(req, path, bound); err != nil {
			return pod.Volume{}, claim.Failed("MountVolume.MountDevice failed", pv.Name, err)
		}
	} else if slices.Contains(strings.Split(pv.Spec.Local.Path, "/"), "..") {
		return pod.Volume{}, fmt.Errorf("invalid path: %s must not contain '..'", pv.Spec.Local.Path)
	}
	if err := p.bind(ctx, req, bound); err != nil {
		return pod.Volume{}, err
	}
	return done, nil
}

// find says what a path of the node leads to: the path without symlinks, and
// whether it is a disk.
func find(path string) (resolved string, disk bool, err error) {
	if path == "" {
		return "", false, errors.New("local volume source is nil or local path is not set")
	}
	from := path
	if !filepath.IsAbs(from) {
		from = "/" + from
	}
	info, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, fmt.Errorf("path %q does not exist", path)
	}
	if err != nil {
		return "", false, err
	}
	disk = info.Mode()&(os.ModeDevice|os.ModeCharDevice) == os.ModeDevice
	if !disk && !info.IsDir() {
		return "", false, errors.New("only directory and block device are supported")
	}
	if disk {
		return from, true, nil
	}
	resolved, err = filepath.EvalSymlinks(from)
	return resolved, false, err
}

// bind mounts the directory for the pod.
func (p *plugin) bind(ctx context.Context, req volume.Request, from string) error {
	options := []string{"bind"}
	if req.ReadOnly {
		options = append(options, "ro")
	}
	options = claim.MountOptions(req.Persistent, options...)
	others, err := podMounts(req.Ref.Root, from)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		if err := compareGroups(req, from); err != nil {
			return err
		}
	} else if !slices.Contains(options, "ro") {
		if err := p.giveAway(ctx, req, from); err != nil {
			return err
		}
	}
	if err := req.Ref.MakeParent(); err != nil {
		return err
	}
	if err := req.Ref.Make(dirMode); err != nil {
		return err
	}
	if err := p.mounter.MountSensitiveWithoutSystemd(from, req.Ref.Dir(), "", options, nil); err != nil {
		// It may have been bound, and only not been given its options.
		cleaned := req.Ref.Unmount(ctx)
		if cleaned == nil {
			cleaned = req.Ref.Remove(ctx)
		}
		if cleaned != nil {
			p.log.Warn("cannot clean up after a mount that failed", zap.Stringer("volume", req.Ref), zap.Error(cleaned))
		}
		return err
	}
	return nil
}

// giveAway gives the volume to the pod's fsGroup.
func (p *plugin) giveAway(ctx context.Context, req volume.Request, dir string) error {
	security := req.Pod.Spec.SecurityContext
	if security == nil {
		return nil
	}
	result, err := ownership.Apply(ctx, dir, ownership.Options{
		Group:  security.FSGroup,
		Policy: security.FSGroupChangePolicy,
		Name:   strings.TrimPrefix(req.Ref.Dir(), podsDir(req.Ref.Root)),
		Tell:   func(message string) { req.Tell(true, ownership.ReasonInProgress, message) },
	})
	if result.Refused > 0 {
		p.log.Warn("a local volume does not wholly belong to the fsGroup", zap.Stringer("volume", req.Ref),
			zap.Int64("refused", result.Refused), zap.NamedError("first", result.Refusal))
	}
	return err
}

// compareGroups warns of a volume that other pods use for another group.
func compareGroups(req volume.Request, dir string) error {
	security := req.Pod.Spec.SecurityContext
	if security == nil || security.FSGroup == nil {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("failed to check fsGroup for %s (%w)", dir, err)
	}
	if has, wanted := int64(st.Gid), *security.FSGroup; has != wanted {
		req.Tell(true, reasonAlreadyMounted, fmt.Sprintf(
			"The requested fsGroup is %d, but the volume %s has GID %d. The volume may not be shareable.", wanted, req.Persistent.Name, has))
	}
	return nil
}

// Unmount implements [volume.Plugin]. The disk goes with the last pod that has it.
func (p *plugin) Unmount(ctx context.Context, ref volume.Ref) error {
	global := globalDir(ref)
	unlock, err := p.locks.take(ctx, global)
	if err != nil {
		return fmt.Errorf("wait for other pods with the same local volume: %w", err)
	}
	defer unlock()
	if err := ref.Unmount(ctx); err != nil {
		return err
	}
	// As long as the pod's directory is there, this is tried again.
	if err := unmountDisk(ref, global); err != nil {
		return err
	}
	return ref.Remove(ctx)
}
