package safedir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Info is what [Dir.Lstat] tells of a name in the directory.
type Info struct {
	Dev, Ino uint64
	Size     int64 // in bytes
	Regular  bool  // a regular file
	IsDir    bool
}

// Lstat looks at a name without following a symlink. A missing one is
// fs.ErrNotExist.
func (d *Dir) Lstat(name string) (Info, error) {
	if err := check(name); err != nil {
		return Info{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.f.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Info{}, fmt.Errorf("look at %q: %w", name, err)
	}
	kind := st.Mode & unix.S_IFMT
	return Info{Dev: uint64(st.Dev), Ino: st.Ino, Size: st.Size, Regular: kind == unix.S_IFREG, IsDir: kind == unix.S_IFDIR}, nil
}

// namesAtOnce is how many names are held in memory.
const namesAtOnce = 256

// Names calls each for every name in the directory, in no order, until each
// returns false. However many there are, few are held in memory.
func (d *Dir) Names(each func(name string) bool) error {
	fd, err := openat(int(d.f.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	list := os.NewFile(uintptr(fd), d.f.Name())
	defer list.Close()
	for {
		names, err := list.Readdirnames(namesAtOnce)
		for _, name := range names {
			if !each(name) {
				return nil
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) { // removed: it is empty
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Rename gives a file of the directory another name, in one step. Nothing is
// replaced: a name that is taken is fs.ErrExist, a missing file fs.ErrNotExist.
func (d *Dir) Rename(from, to string) error {
	if err := errors.Join(check(from), check(to)); err != nil {
		return err
	}
	dir := int(d.f.Fd())
	err := unix.Renameat2(dir, from, dir, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // not every file system can
		if _, taken := d.Lstat(to); taken == nil {
			return fmt.Errorf("rename %q to %q: %w", from, to, fs.ErrExist)
		}
		err = unix.Renameat(dir, from, dir, to)
	}
	if err != nil {
		return fmt.Errorf("rename %q to %q: %w", from, to, err)
	}
	return nil
}

// Sync makes the names of the directory survive a power failure.
func (d *Dir) Sync() error { return d.f.Sync() }

// Sub opens a directory in the directory; see [Open].
func (d *Dir) Sub(name string) (*Dir, error) {
	fd, err := step(nil, int(d.f.Fd()), name)
	if err != nil {
		return nil, err
	}
	return &Dir{f: os.NewFile(uintptr(fd), d.f.Name()+"/"+name)}, nil
}
