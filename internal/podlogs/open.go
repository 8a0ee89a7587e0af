package podlogs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotALog tells that a path does not lead to a log that may be read: it lies
// elsewhere, or a symlink, a FIFO or the like is on the way.
var ErrNotALog = errors.New("only regular files <pods directory>/<pod>/<container>/<file> are read as logs, " +
	"and symlinks are not followed")

// fileID tells files apart.
type fileID struct{ dev, ino uint64 }

// logDir is a container's directory, held open: what is read later comes from it,
// whatever happens to its path.
type logDir struct {
	f    *os.File
	path string
	live string // name of the file that the runtime writes
	id   fileID
}

// openDir opens the directory of the log at path, without following a symlink
// below the directory of pods.
func (r *Reader) openDir(path string) (*logDir, error) {
	below, ok := strings.CutPrefix(path, strings.TrimSuffix(r.pods, "/")+"/")
	part := strings.Split(below, "/")
	if !ok || len(part) != 3 || path != filepath.Clean(path) || strings.ContainsRune(path, 0) {
		return nil, fmt.Errorf("open log %q below %s: %w", path, r.pods, ErrNotALog)
	}
	pods, err := openat(unix.AT_FDCWD, r.pods, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, fmt.Errorf("open log directory %s: %w", r.pods, err)
	}
	defer func() { _ = unix.Close(pods) }()
	pod, err := openat(pods, part[0], unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return nil, fmt.Errorf("open directory of pod for log %q: %w", path, err)
	}
	defer func() { _ = unix.Close(pod) }()
	container, err := openat(pod, part[1], unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return nil, fmt.Errorf("open directory of container for log %q: %w", path, err)
	}
	dir := &logDir{f: os.NewFile(uintptr(container), filepath.Dir(path)), path: filepath.Dir(path), live: part[2]}
	var st unix.Stat_t
	if err := unix.Fstat(container, &st); err != nil {
		_ = dir.f.Close()
		return nil, fmt.Errorf("look at directory of log %q: %w", path, err)
	}
	dir.id = idOf(&st)
	return dir, nil
}

// open opens a file of the directory for reading. It never waits for anybody, as
// opening a FIFO would.
func (d *logDir) open(name string) (*source, error) {
	fd, err := openat(int(d.f.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, fmt.Errorf("open log %s/%s: %w", d.path, name, err)
	}
	f := os.NewFile(uintptr(fd), filepath.Join(d.path, name))
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("look at log %s/%s: %w", d.path, name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = f.Close()
		return nil, fmt.Errorf("open log %s/%s: %w", d.path, name, ErrNotALog)
	}
	return &source{f: f, id: idOf(&st)}, nil
}

// liveID identifies what lies where the runtime writes; false if nothing does.
func (d *logDir) liveID() (fileID, bool, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(d.f.Fd()), d.live, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return fileID{}, false, nil
	}
	if err != nil {
		return fileID{}, false, fmt.Errorf("look at log %s/%s: %w", d.path, d.live, err)
	}
	return idOf(&st), true, nil
}

func (d *logDir) close() { _ = d.f.Close() }

func idOf(st *unix.Stat_t) fileID { return fileID{dev: uint64(st.Dev), ino: st.Ino} }

// openat says ErrNotALog where something else than a file or a directory was
// found.
func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENXIO):
			return -1, fmt.Errorf("%q: %w: %w", name, err, ErrNotALog)
		default:
			return fd, err
		}
	}
}
