package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Unmount detaches whatever is mounted on the volume's directory or below it,
// deepest first. It touches nothing when nothing is mounted.
func (r Ref) Unmount(ctx context.Context) error {
	if err := r.validate(); err != nil {
		return err
	}
	return unmountBelow(ctx, r.Dir())
}

// Mounted returns the file system type on top of the volume's directory, or ""
// when nothing is mounted there.
func (r Ref) Mounted() (fstype string, err error) {
	if free(r.Dir()) {
		return "", nil
	}
	infos, err := mountsBelow(r.Dir())
	if err != nil {
		return "", err
	}
	for _, info := range infos {
		if info.Mountpoint == r.Dir() {
			fstype = info.FSType // the last one lies on top
		}
	}
	return fstype, nil
}

// free reports whether surely nothing is mounted on dir, as where a volume begins. To
// read the table, which has the mounts of all pods, takes longer than to mount. What is
// mounted is not touched: its server may be dead.
func free(dir string) bool {
	parent, err := unix.Open(filepath.Dir(dir), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	defer func() { _ = unix.Close(parent) }()
	fd, err := unix.Openat2(parent, filepath.Base(dir), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	_ = unix.Close(fd)
	return true
}

// mountsBelow reads the mounts at or below dir, oldest first.
func mountsBelow(dir string) ([]*mountinfo.Info, error) {
	infos, err := mountinfo.GetMounts(func(info *mountinfo.Info) (skip, stop bool) {
		return info.Mountpoint != dir && !strings.HasPrefix(info.Mountpoint, dir+"/"), false
	})
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	return infos, nil
}

// unmountAlone unmounts what is mounted on dir if nothing is mounted below it, and
// reports whether surely nothing is there any more. Almost always a volume is one
// mount on an empty directory, and the table has the mounts of all pods.
func unmountAlone(dir string) bool {
	err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	for err == nil {
		err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true
	case !errors.Is(err, unix.EINVAL): // EINVAL: nothing is mounted on it
		return false
	}
	// Whatever is mounted below has an entry.
	entries, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer func() { _ = entries.Close() }()
	_, err = entries.Readdirnames(1)
	return errors.Is(err, io.EOF)
}

// A program that the agent starts has, for the moment before it is executed, a copy
// of every file that the agent has open, and what they lie on is busy. Nothing says
// when that is over.
const (
	busyTries = 10
	busyPause = 20 * time.Millisecond
)

// unmountBelow unmounts everything at or below dir. A mount can be hidden by a
// later one on a directory above it, so it goes on while it gets anywhere. What is
// busy is tried again for a moment.
func unmountBelow(ctx context.Context, dir string) error {
	if unmountAlone(dir) {
		return nil
	}
	for try := 1; ; {
		infos, err := mountsBelow(dir)
		if err != nil || len(infos) == 0 {
			return err
		}
		progress := false
		var failed []error
		for _, info := range slices.Backward(infos) {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := unix.Unmount(info.Mountpoint, unix.UMOUNT_NOFOLLOW)
			progress = progress || err == nil
			if err != nil {
				failed = append(failed, fmt.Errorf("unmount %s (%s): %w", info.Mountpoint, info.FSType, err))
			}
		}
		if len(failed) == 0 {
			return nil // The table had those that were hidden, too.
		}
		if progress {
			continue
		}
		err = errors.Join(failed...)
		if try++; try > busyTries || !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(busyPause):
		}
	}
}
