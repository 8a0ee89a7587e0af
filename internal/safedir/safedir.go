package safedir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotPlain tells that something else than a regular file or a directory is where
// one of these was looked for: a symlink, a FIFO, a socket or the like.
var ErrNotPlain = errors.New("it is no regular file or directory where one has to be, and symlinks are not followed")

// ErrTooLong tells that a file is longer than its reader takes.
var ErrTooLong = errors.New("the file is longer than any that is valid")

// Dir is an open directory. It is safe for concurrent use, but [Dir.Write] of one
// name is for one caller at a time.
type Dir struct {
	f *os.File
}

// Open opens the directory root/names[0]/names[1]/... The root may be a symlink or
// lie behind some, it is the administrator's; the names below it may not
// ([ErrNotPlain]). What is missing is fs.ErrNotExist.
func Open(root string, names ...string) (*Dir, error) { return open(nil, root, names) }

// Make is Open, but makes what is missing, the root included, with the mode less
// the umask.
func Make(root string, mode fs.FileMode, names ...string) (*Dir, error) {
	if err := os.MkdirAll(root, mode); err != nil {
		return nil, err
	}
	return open(&mode, root, names)
}

func open(create *fs.FileMode, root string, names []string) (*Dir, error) {
	fd, err := openat(unix.AT_FDCWD, root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		next, err := step(create, fd, name)
		_ = unix.Close(fd)
		if err != nil {
			return nil, err
		}
		fd = next
	}
	path := filepath.Join(append([]string{root}, names...)...)
	return &Dir{f: os.NewFile(uintptr(fd), path)}, nil
}

// step goes one directory down.
func step(create *fs.FileMode, from int, name string) (int, error) {
	if err := check(name); err != nil {
		return -1, err
	}
	if create != nil {
		if err := unix.Mkdirat(from, name, uint32(create.Perm())); err != nil && !errors.Is(err, fs.ErrExist) {
			return -1, fmt.Errorf("make directory %q: %w", name, err)
		}
	}
	return openat(from, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// Open opens a directory in the directory, as [Open] does.
func (d *Dir) Open(name string) (*Dir, error) {
	fd, err := step(nil, int(d.f.Fd()), name)
	if err != nil {
		return nil, err
	}
	return &Dir{f: os.NewFile(uintptr(fd), filepath.Join(d.f.Name(), name))}, nil
}

// blockSize is the unit in which the kernel counts what a file takes.
const blockSize = 512

// Taken returns what everything in the directory takes on the disk that is no
// directory itself, and how many these are. It looks at limit entries at most, and is
// to be called once.
func (d *Dir) Taken(limit int) (bytes, files int64, err error) {
	names, err := d.f.Readdirnames(limit)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(int(d.f.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
			continue // gone, or none
		}
		bytes += st.Blocks * blockSize
		files++
	}
	return bytes, files, nil
}

// Close closes the directory.
func (d *Dir) Close() { _ = d.f.Close() }

// File opens a regular file of the directory with flags and mode as os.OpenFile has
// them. It never waits for anybody, as opening a FIFO would.
func (d *Dir) File(name string, flags int, mode fs.FileMode) (*os.File, error) {
	if err := check(name); err != nil {
		return nil, err
	}
	fd, err := openat(int(d.f.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, uint32(mode.Perm()))
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), filepath.Join(d.f.Name(), name))
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("open %q: %w", name, ErrNotPlain)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// Read returns the content of a regular file, which may have up to limit bytes; a
// longer one is [ErrTooLong].
func (d *Dir) Read(name string, limit int) ([]byte, error) {
	file, err := d.File(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(data) > limit {
		return nil, fmt.Errorf("read %q: %w: %d bytes", name, ErrTooLong, limit)
	}
	return data, nil
}

// Write replaces a file, or makes it, in one step: whoever reads it, also after a
// power failure, finds the old content or the new one. The mode is exactly that,
// whatever the umask. What is there and is no directory is replaced, a symlink too.
func (d *Dir) Write(name string, data []byte, mode fs.FileMode) error {
	if err := check(name); err != nil {
		return err
	}
	temporary := "." + name + ".tmp"
	if err := d.Remove(temporary); err != nil { // of a write that was cut off
		return err
	}
	if err := d.fill(temporary, data, mode); err != nil {
		return errors.Join(err, d.Remove(temporary))
	}
	dir := int(d.f.Fd())
	if err := unix.Renameat(dir, temporary, dir, name); err != nil {
		return errors.Join(fmt.Errorf("put %q in its place: %w", name, err), d.Remove(temporary))
	}
	return d.f.Sync()
}

func (d *Dir) fill(name string, data []byte, mode fs.FileMode) error {
	file, err := d.File(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
}

// Remove removes what has the name and is no directory; a symlink, not what it leads
// to. A missing file is fine.
func (d *Dir) Remove(name string) error {
	if err := check(name); err != nil {
		return err
	}
	if err := unix.Unlinkat(int(d.f.Fd()), name, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %q: %w", name, err)
	}
	return nil
}

// Dirs returns the names of the directories in the directory, in no order; symlinks
// to directories are none. It is to be called once.
func (d *Dir) Dirs() ([]string, error) {
	entries, err := d.f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// ValidName says whether a name can be one element of a path.
func ValidName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= unix.NAME_MAX && !strings.ContainsAny(name, "/\x00")
}

func check(name string) error {
	if !ValidName(name) {
		return fmt.Errorf("%q cannot be the name of a file or a directory", name)
	}
	return nil
}

// openat says ErrNotPlain where something else than a file or a directory was found.
func openat(dir int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, mode)
		switch {
		case err == nil:
			return fd, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENXIO), errors.Is(err, unix.EISDIR):
			return -1, fmt.Errorf("open %q: %w: %w", name, err, ErrNotPlain)
		default:
			return -1, fmt.Errorf("open %q: %w", name, err)
		}
	}
}
