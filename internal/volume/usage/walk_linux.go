package usage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// blockSize is the unit of st_blocks.
	blockSize = 512
	// maxOpen is how many directories a walk keeps open; those above are opened again
	// on the way back.
	maxOpen = 32
	// maxDepth is how deep a walk goes.
	maxDepth = 100_000
	// direntBuffer is how much of a directory is read at once.
	direntBuffer = 8 << 10
	// entriesPerInode and moreEntries say how much there can be in a volume at most, by
	// what its file system holds when the walk begins.
	entriesPerInode = 16
	moreEntries     = 1 << 20
)

// walk counts one tree, a slice at a time. It is for one goroutine.
type walk struct {
	dir string
	at  time.Time
	// dev and mnt are the file system's and the mount's; mnt is 0 where the kernel does
	// not tell mounts apart (before 5.8).
	dev  device
	mnt  uint64
	path []frame
	// links are the inodes with several names that have been counted, up to maxLinks.
	links    map[uint64]struct{}
	maxLinks int
	left     int64
	bytes    int64
	inodes   int64
	// parts count the hard links that cannot be remembered: each name for its part.
	parts      struct{ bytes, inodes float64 }
	incomplete bool
}

// frame is a directory on the way to where the walk is.
type frame struct {
	fd  int // -1: closed
	ino uint64
	// next is where to go on reading, rest what has been read and not looked at.
	next   int64
	rest   []byte
	buffer []byte
}

// device is a file system's number.
type device struct{ major, minor uint32 }

// wanted is what is asked of each entry.
const wanted = unix.STATX_TYPE | unix.STATX_NLINK | unix.STATX_INO | unix.STATX_BLOCKS | unix.STATX_MNT_ID

// stat asks about an entry of an open directory, "" for itself. Nobody else is asked:
// no server for what it has cached, nobody to mount anything.
func stat(fd int, name string) (st unix.Statx_t, err error) {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_STATX_DONT_SYNC
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	err = unix.Statx(fd, name, flags, wanted, &st)
	return st, err
}

func deviceOf(st *unix.Statx_t) device { return device{st.Dev_major, st.Dev_minor} }

func mountOf(st *unix.Statx_t) uint64 {
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0
	}
	return st.Mnt_id
}

// inside reports whether an entry belongs to the volume, not to something that is
// mounted in it.
func (w *walk) inside(st *unix.Statx_t) bool { return deviceOf(st) == w.dev && mountOf(st) == w.mnt }

// begin opens a tree. A symlink in its place is refused.
func begin(dir string, maxLinks int) (*walk, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open volume %s: %w", dir, err)
	}
	w := &walk{dir: dir, at: now(), links: map[uint64]struct{}{}, maxLinks: maxLinks, left: math.MaxInt64}
	st, err := stat(fd, "")
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("look at volume %s: %w", dir, err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err == nil && fs.Files > fs.Ffree {
		w.left = int64(fs.Files-fs.Ffree)*entriesPerInode + moreEntries
	}
	w.dev, w.mnt = deviceOf(&st), mountOf(&st)
	w.push(fd, &st)
	return w, nil
}

// close ends a walk before it has ended.
func (w *walk) close() {
	for i := range w.path {
		w.path[i].close()
	}
	w.path = nil
}

func (f *frame) close() {
	if f.fd >= 0 {
		_ = unix.Close(f.fd) // nothing was written
	}
	f.fd, f.rest, f.buffer = -1, nil, nil
}

func (w *walk) result() Usage {
	return Usage{
		Used:       w.bytes + int64(math.Round(w.parts.bytes)),
		InodesUsed: w.inodes + int64(math.Round(w.parts.inodes)),
		At:         w.at,
		Incomplete: w.incomplete,
	}
}

// slice looks at n more entries and reports whether that was all.
func (w *walk) slice(n int) (done bool) {
	for range n {
		if len(w.path) == 0 {
			return true
		}
		if w.left--; w.left < 0 { // somebody makes more while we count
			w.incomplete = true
			w.close()
			return true
		}
		w.step()
	}
	return len(w.path) == 0
}

// step looks at the next entry of the directory where the walk is, or leaves it.
func (w *walk) step() {
	top := &w.path[len(w.path)-1]
	if len(top.rest) == 0 && !w.fill(top) {
		w.leave()
		return
	}
	name, kind := top.entry()
	switch {
	case name == "" || name == "." || name == "..":
	case kind == unix.DT_DIR:
		w.enter(top, name)
	default:
		w.look(top, name)
	}
}

// fill reads more of a directory; false: there is no more.
func (w *walk) fill(f *frame) bool {
	if f.buffer == nil {
		f.buffer = make([]byte, direntBuffer)
	}
	for {
		n, err := unix.Getdents(f.fd, f.buffer)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOENT): // removed
			return false
		case err != nil:
			w.incomplete = true
			return false
		}
		f.rest = f.buffer[:n]
		return n > 0
	}
}

// entry takes one entry off what has been read: struct linux_dirent64.
func (f *frame) entry() (name string, kind byte) {
	const header = 19
	if len(f.rest) < header {
		f.rest = nil
		return "", 0
	}
	length := int(binary.NativeEndian.Uint16(f.rest[16:]))
	if length < header || length > len(f.rest) {
		f.rest = nil
		return "", 0
	}
	f.next = int64(binary.NativeEndian.Uint64(f.rest[8:]))
	text, _, _ := bytes.Cut(f.rest[header:length], []byte{0})
	kind = f.rest[18]
	f.rest = f.rest[length:]
	return string(text), kind
}

// look counts an entry that is no directory.
func (w *walk) look(f *frame, name string) {
	st, err := stat(f.fd, name)
	switch {
	case errors.Is(err, unix.ENOENT):
	case err != nil:
		w.incomplete = true
	case st.Mode&unix.S_IFMT == unix.S_IFDIR: // the file system does not tell types, or it is new
		w.enter(f, name)
	case w.inside(&st):
		w.count(&st)
	}
}

// enter counts a directory and goes into it, unless something is mounted there.
func (w *walk) enter(f *frame, name string) {
	how := &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(f.fd, name, how)
	for range 3 {
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			break
		}
		fd, err = unix.Openat2(f.fd, name, how)
	}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP): // no longer that
		return
	case errors.Is(err, unix.EXDEV):
		return
	case err != nil:
		w.incomplete = true
		return
	}
	st, err := stat(fd, "")
	if inside := w.inside(&st); err != nil || !inside || len(w.path) >= maxDepth {
		w.incomplete = w.incomplete || err != nil || inside
		_ = unix.Close(fd)
		return
	}
	w.push(fd, &st)
}

// push counts a directory, which is open, and makes it the one the walk is in.
func (w *walk) push(fd int, st *unix.Statx_t) {
	w.count(st)
	w.path = append(w.path, frame{fd: fd, ino: st.Ino})
	// The first one stays open: there is always a way back to it.
	if i := len(w.path) - maxOpen; i > 0 {
		w.path[i].close()
	}
}

// leave goes back to the directory above.
func (w *walk) leave() {
	last := len(w.path) - 1
	child := &w.path[last]
	if last > 0 && w.path[last-1].fd < 0 && !w.reopen(&w.path[last-1], child) {
		// The directory was moved. What has not been counted of those above it is lost, down
		// to the first that is open.
		w.incomplete = true
		child.close()
		for last > 0 && w.path[last-1].fd < 0 {
			last--
		}
		w.path = w.path[:last]
		return
	}
	child.close()
	w.path = w.path[:last]
}

// reopen opens the directory above another one, if it is still the same.
func (w *walk) reopen(f, child *frame) bool {
	fd, err := unix.Openat(child.fd, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	st, err := stat(fd, "")
	if err == nil && (!w.inside(&st) || st.Ino != f.ino) {
		err = unix.ESTALE
	}
	if err == nil {
		_, err = unix.Seek(fd, f.next, unix.SEEK_SET)
	}
	if err != nil {
		_ = unix.Close(fd)
		return false
	}
	f.fd = fd
	return true
}

// count adds what an inode holds, once.
func (w *walk) count(st *unix.Statx_t) {
	size := int64(st.Blocks) * blockSize
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if _, counted := w.links[st.Ino]; counted {
			return
		}
		if len(w.links) >= w.maxLinks {
			w.parts.bytes += float64(size) / float64(st.Nlink)
			w.parts.inodes += 1 / float64(st.Nlink)
			return
		}
		w.links[st.Ino] = struct{}{}
	}
	w.bytes += size
	w.inodes++
}
