package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Share makes the agent's root directory, which it creates, one that passes mounts
// on, so that a driver in a pod can mount a volume for others (mountPropagation:
// Bidirectional). The kubelet does the same, to the same end and only once.
func Share(rootDir string) error {
	if err := os.MkdirAll(rootDir, dirMode); err != nil {
		return fmt.Errorf("make the root directory: %w", err)
	}
	root, err := filepath.EvalSymlinks(rootDir) // the mount table knows no symlinks
	if err != nil {
		return fmt.Errorf("resolve the root directory: %w", err)
	}
	shared, err := isShared(root)
	if err != nil || shared {
		return err
	}
	if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind-mount %s on itself, so that mounts in it can be shared with containers (CAP_SYS_ADMIN is needed): %w", root, err)
	}
	if err := unix.Mount("", root, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share the mounts in %s with containers: %w", root, err)
	}
	return nil
}

// isShared reports whether the mount that a path lies on passes mounts on.
func isShared(path string) (bool, error) {
	infos, err := mountinfo.GetMounts(mountinfo.ParentsFilter(path))
	if err != nil {
		return false, fmt.Errorf("read the mount table: %w", err)
	}
	var on *mountinfo.Info
	for _, info := range infos {
		if on == nil || len(info.Mountpoint) >= len(on.Mountpoint) {
			on = info // of two at one place the later lies on top
		}
	}
	return on != nil && strings.Contains(on.Optional, "shared:"), nil
}
