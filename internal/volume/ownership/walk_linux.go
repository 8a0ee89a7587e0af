package ownership

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// bufSize bounds what is read from a directory at once, a few hundred names.
	bufSize = 16 << 10
	// window is how many directories are held open beside the root. A pod can nest
	// them as deep as it likes.
	window = 64
	// attempts at a file that is another one each time it is looked at.
	attempts = 8
)

// errMoved says that the tree is being rearranged while it is walked.
var errMoved = errors.New("a directory has been moved away in the meantime")

// walker is one walk through a volume.
type walker struct {
	group   uint32
	bits    uint32 // added to the modes of files
	files   *atomic.Int64
	refused int64
	refusal error
	buf     []byte
	// frames are the directories from the root to where the walk is.
	frames []*frame
}

// frame is a directory the walk is in.
type frame struct {
	name string
	fd   int // -1: closed for the time being
	// dev and ino say that it is the same, when it is opened again.
	dev, ino uint64
	// at is where to go on reading it then.
	at int64
	// names have been read and not yet looked at.
	names []string
	end   bool
}

// openRoot opens the volume's directory.
func openRoot(dir string) (*frame, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return newFrame(fd, dir)
}

func newFrame(fd int, name string) (*frame, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd) // nothing was written
		return nil, err
	}
	return &frame{name: name, fd: fd, dev: st.Dev, ino: st.Ino}, nil
}

func (w *walker) close() {
	for _, f := range w.frames {
		if f.fd >= 0 {
			_ = unix.Close(f.fd) // nothing was written
		}
	}
	w.frames = nil
}

// path is where the walk is, for errors; no longer than people read.
func (w *walker) path(name string) string {
	path := name
	for i, f := range slices.Backward(w.frames) {
		if len(path) > 512 && i > 0 {
			return filepath.Join(w.frames[0].name, "...", path)
		}
		path = filepath.Join(f.name, path)
	}
	return path
}

// walk goes through the tree, what is in a directory before the directory.
func (w *walker) walk(ctx context.Context) error {
	for len(w.frames) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		name, err := w.next(w.frames[len(w.frames)-1])
		switch {
		case err != nil:
			return fmt.Errorf("list %s: %w", w.path(""), err)
		case name == "":
			err = w.leave()
		default:
			err = w.visit(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// next returns a name in a directory that has not been visited; "": there is none.
func (w *walker) next(f *frame) (string, error) {
	for len(f.names) == 0 && !f.end {
		n, err := unix.ReadDirent(f.fd, w.buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.ENOENT) { // it has been removed
			n, err = 0, nil
		}
		if err != nil {
			return "", err
		}
		f.end = n <= 0
		_, _, f.names = unix.ParseDirent(w.buf[:max(n, 0)], -1, f.names[:0])
	}
	if len(f.names) == 0 {
		return "", nil
	}
	name := f.names[0]
	f.names = f.names[1:]
	return name, nil
}

// visit deals with a file, or goes into a directory.
func (w *walker) visit(name string) error {
	at := w.frames[len(w.frames)-1].fd
	for range attempts {
		var st unix.Statx_t
		err := unix.Statx(at, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE|unix.STATX_MODE|unix.STATX_GID, &st)
		switch {
		case errors.Is(err, unix.ENOENT):
			return nil
		case err != nil:
			return fmt.Errorf("look at %s: %w", w.path(name), err)
		case st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0:
			return nil
		case uint32(st.Mode)&unix.S_IFMT == unix.S_IFDIR:
			err = w.enter(at, name)
		case w.settled(st.Gid, uint32(st.Mode)):
			w.files.Add(1)
			return nil
		default:
			err = w.change(at, name)
		}
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EAGAIN) {
			continue // it is another one now
		}
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EXDEV) {
			return nil // gone, or something has been mounted on it
		}
		if err != nil {
			return fmt.Errorf("open %s: %w", w.path(name), err)
		}
		return nil
	}
	return fmt.Errorf("%s is replaced by another file again and again", w.path(name))
}

// open opens one name in a directory, and nothing anywhere else.
func open(at int, name string, flags uint64) (int, error) {
	return unix.Openat2(at, name, &unix.OpenHow{
		Flags:   flags | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
}

// enter goes into a directory.
func (w *walker) enter(at int, name string) error {
	fd, err := open(at, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	f, err := newFrame(fd, name)
	if err != nil {
		return err
	}
	w.frames = append(w.frames, f)
	if i := len(w.frames) - 1 - window; i > 0 {
		return w.frames[i].park()
	}
	return nil
}

// park closes a directory that the walk will come back to.
func (f *frame) park() (err error) {
	if f.fd < 0 {
		return nil
	}
	if f.at, err = unix.Seek(f.fd, 0, unix.SEEK_CUR); err != nil {
		return err
	}
	err = unix.Close(f.fd)
	f.fd = -1
	return err
}

// unpark opens it again, from a directory in it, if that is still where it was.
func (f *frame) unpark(child int) error {
	fd, err := unix.Openat(child, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && (st.Dev != f.dev || st.Ino != f.ino) {
		err = errMoved
	}
	if err == nil {
		_, err = unix.Seek(fd, f.at, unix.SEEK_SET)
	}
	if err != nil {
		_ = unix.Close(fd) // nothing was written
		return err
	}
	f.fd = fd
	return nil
}

// leave ends with a directory.
func (w *walker) leave() error {
	last := len(w.frames) - 1
	f := w.frames[last]
	if err := w.changeOpen(f.fd, "", false); err != nil {
		return fmt.Errorf("look at %s: %w", w.path(""), err)
	}
	if last > 0 && w.frames[last-1].fd < 0 {
		if err := w.frames[last-1].unpark(f.fd); err != nil {
			return fmt.Errorf("go back from %s: %w", w.path(""), err)
		}
	}
	_ = unix.Close(f.fd) // nothing was written
	w.frames[last] = nil
	w.frames = w.frames[:last]
	return nil
}

// settled reports whether there is nothing to change.
func (w *walker) settled(gid, mode uint32) bool {
	if gid != w.group {
		return false
	}
	want := w.wanted(mode)
	return mode&want == want
}

// wanted are the permissions that a file of this mode must have.
func (w *walker) wanted(mode uint32) uint32 {
	switch mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return 0 // it has none of its own
	case unix.S_IFDIR:
		return w.bits | dirBits
	}
	return w.bits
}

// change changes what is not a directory. It is not opened for that: a FIFO would
// wait for somebody, and a device might do something.
func (w *walker) change(at int, name string) error {
	fd, err := open(at, name, unix.O_PATH)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return w.changeOpen(fd, name, true)
}

// changeOpen changes what fd stands for, if it has to be. A directory is not
// expected where notDir. name is for messages only.
func (w *walker) changeOpen(fd int, name string, notDir bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if notDir && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EISDIR
	}
	w.files.Add(1)
	if w.settled(st.Gid, st.Mode) {
		return nil
	}
	if err := unix.Fchownat(fd, "", -1, int(w.group), unix.AT_EMPTY_PATH); err != nil {
		w.refuse("group", name, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return nil
	}
	// The change of the group has taken setuid and setgid away: they are put back.
	// There is no fchmod of what is not open; this is it by another name.
	if err := unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), st.Mode&permissions|w.wanted(st.Mode)); err != nil {
		w.refuse("mode", name, err)
	}
	return nil
}

func (w *walker) refuse(what, name string, err error) {
	w.refused++
	if w.refusal == nil {
		w.refusal = fmt.Errorf("change the %s of %s: %w", what, w.path(name), err)
	}
}
