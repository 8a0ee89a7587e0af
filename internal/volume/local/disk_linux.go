package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/mount-utils"

	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/claim"
)

// escapedName is the plugin's name in the paths of pods.
const escapedName = "kubernetes.io~local-volume"

// podsDir is where pods have their mounts, with a slash at its end.
func podsDir(root string) string { return filepath.Join(root, "pods") + "/" }

// globalRel is where a disk is mounted, below the root directory.
func globalRel(ref volume.Ref) string { return filepath.Join("plugins", Name, "mounts", ref.Name) }

func globalDir(ref volume.Ref) string { return filepath.Join(ref.Root, globalRel(ref)) }

// podMounts lists where a directory is mounted for pods.
func podMounts(root, dir string) ([]string, error) {
	points, err := mount.SearchMountPoints(dir, "/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("find out which pods have %s: %w", dir, err)
	}
	return slices.DeleteFunc(points, func(p string) bool { return !strings.HasPrefix(p, podsDir(root)) }), nil
}

// exclusive fails if the volume is for one pod only and another one has it.
func exclusive(req volume.Request) error {
	if modes := req.Persistent.Spec.AccessModes; len(modes) != 1 || modes[0] != corev1.ReadWriteOncePod {
		return nil
	}
	tail := filepath.Join("/volumes", escapedName, req.Ref.Name)
	infos, err := mountinfo.GetMounts(func(info *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(info.Mountpoint, podsDir(req.Ref.Root)) || !strings.HasSuffix(info.Mountpoint, tail) || info.Mountpoint == req.Ref.Dir(), false
	})
	if err != nil {
		return fmt.Errorf("read the mount table: %w", err)
	}
	if len(infos) > 0 {
		return errors.New("volume uses the ReadWriteOncePod access mode and is already in use by another pod")
	}
	return nil
}

func mounted(dir string) (bool, error) {
	infos, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(dir))
	if err != nil {
		return false, fmt.Errorf("read the mount table: %w", err)
	}
	return len(infos) > 0, nil
}

// fsTypes are what may be a file system: it becomes the name of a command.
var fsTypes = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// mountDisk mounts a disk for all pods, and formats it if there is nothing on it.
// It does not end with a context: nobody should end a mkfs half-way.
func (p *plugin) mountDisk(req volume.Request, device, global string) error {
	is, err := mounted(global)
	if err != nil || is {
		return err
	}
	fsType := defaultFSType
	if given := req.Persistent.Spec.Local.FSType; given != nil {
		fsType = *given
	}
	if fsType != "" && !fsTypes.MatchString(fsType) {
		return fmt.Errorf("local: %q is not the type of a file system", fsType)
	}
	if err := req.Ref.MakeParent(); err != nil { // it checks the names
		return err
	}
	root, err := os.OpenRoot(req.Ref.Root)
	if err != nil {
		return fmt.Errorf("open root directory: %w", err)
	}
	defer root.Close()
	if err := root.MkdirAll(globalRel(req.Ref), dirMode); err != nil {
		return err
	}
	var options []string
	if req.ReadOnly {
		options = append(options, "ro")
	}
	if err := p.disks.FormatAndMount(device, global, fsType, claim.MountOptions(req.Persistent, options...)); err != nil {
		_ = root.Remove(globalRel(req.Ref)) // an empty directory in the way of nobody
		return fmt.Errorf("local: failed to mount device %s at %s (fstype: %s), error %w", device, global, fsType, err)
	}
	return nil
}

// unmountDisk unmounts the disk of a volume, if it is one, unless pods have it.
func unmountDisk(ref volume.Ref, global string) error {
	is, err := mounted(global)
	if err != nil {
		return err
	}
	if is {
		users, err := podMounts(ref.Root, global)
		if err != nil || len(users) > 0 {
			return err
		}
		if err := unix.Unmount(global, unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", global, err)
		}
	}
	root, err := os.OpenRoot(ref.Root)
	if err != nil {
		return fmt.Errorf("open root directory: %w", err)
	}
	defer root.Close()
	if err := root.Remove(globalRel(ref)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the directory of a disk: %w", err)
	}
	return nil
}
