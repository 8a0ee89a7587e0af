package usage

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// statfs asks a file system, as the kubelet does.
func statfs(dir string) (Usage, error) {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	for errors.Is(err, unix.EINTR) {
		err = unix.Statfs(dir, &st)
	}
	if err != nil {
		return Usage{}, fmt.Errorf("ask the file system of volume %s: %w", dir, err)
	}
	return figures(&st), nil
}

func figures(st *unix.Statfs_t) Usage {
	return Usage{
		Used:       int64(st.Blocks-st.Bfree) * st.Bsize,
		Available:  int64(st.Bavail) * st.Bsize,
		Capacity:   int64(st.Blocks) * st.Bsize,
		Inodes:     int64(st.Files),
		InodesFree: int64(st.Ffree),
		InodesUsed: int64(st.Files - st.Ffree),
	}
}

// measure finds out what can be known of a tree without walking. whole tells that
// Used and InodesUsed are the volume's: its directory is where a tmpfs is mounted,
// or has a project quota of its own.
func measure(v Volume) (u Usage, whole bool, err error) {
	fd, err := unix.Open(v.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return Usage{}, false, fmt.Errorf("open volume %s: %w", v.Dir, err)
	}
	defer unix.Close(fd)
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return Usage{}, false, fmt.Errorf("ask the file system of volume %s: %w", v.Dir, err)
	}
	u = figures(&st)
	if st.Type == unix.TMPFS_MAGIC && st.Files > 0 && mountRoot(fd) {
		return u, true, nil
	}
	if v.Confined {
		if q, ok := quota(fd); ok {
			u.Used, u.InodesUsed = q.space, q.inodes
			return u, true, nil
		}
	}
	return u, false, nil
}

// mountRoot reports whether a directory is the root of a file system, not of a part
// of one.
func mountRoot(fd int) bool {
	var here, above unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO, &here); err != nil {
		return false
	}
	if err := unix.Statx(fd, "..", unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO, &above); err != nil {
		return false
	}
	isRoot := here.Attributes_mask&here.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	return isRoot && (here.Dev_major != above.Dev_major || here.Dev_minor != above.Dev_minor)
}

// What <linux/fs.h> and <linux/quota.h> say.
const (
	fsIocFsgetxattr    = 0x801c581f
	fsXflagProjinherit = 0x200
	qGetquota          = 0x800007
	prjquota           = 2
)

// fsxattr is struct fsxattr.
type fsxattr struct {
	flags, extsize, nextents, project, cowextsize uint32
	_                                             [8]byte
}

// dqblk is struct if_dqblk.
type dqblk struct {
	hardSpace, softSpace, space    uint64
	hardInodes, softInodes, inodes uint64
	spaceTime, inodeTime           uint64
	valid                          uint32
	_                              uint32
}

// consumption is what a project has.
type consumption struct{ space, inodes int64 }

// quota asks for what a directory's project has, if it has one that is not also its
// parent's and the file system counts it: XFS and ext4 with prjquota, Linux 5.14.
func quota(fd int) (consumption, bool) {
	id, ok := project(fd)
	if !ok {
		return consumption{}, false
	}
	above, err := unix.Openat(fd, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return consumption{}, false
	}
	defer unix.Close(above)
	if shared, ok := project(above); ok && shared == id {
		return consumption{}, false
	}
	var q dqblk
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(fd), qGetquota<<8|prjquota, uintptr(id), uintptr(unsafe.Pointer(&q)), 0, 0) //nolint:gosec // the kernel fills the struct
	if errno != 0 {
		return consumption{}, false
	}
	return consumption{space: int64(q.space), inodes: int64(q.inodes)}, true
}

// project returns the project that new files in a directory belong to.
func project(fd int) (uint32, bool) {
	var x fsxattr
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), fsIocFsgetxattr, uintptr(unsafe.Pointer(&x))) //nolint:gosec // the kernel fills the struct
	if errno != 0 || x.project == 0 || x.flags&fsXflagProjinherit == 0 {
		return 0, false
	}
	return x.project, true
}
