package termination

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// The limits of the Kubernetes API (Container.terminationMessagePath and
// terminationMessagePolicy).
const (
	maxMessage  = 4096 // bytes of the file
	maxLogBytes = 2048
	maxLogLines = 80
)

const (
	podsDir       = "pods"
	containersDir = "containers"
	dirMode       = 0o750
	fileMode      = 0o666 // the container writes it as whoever it is
	nameLen       = 8
)

// ErrNotAMessage tells that a path does not lead to a file that [Files.Create] could
// have made: it lies elsewhere, or a symlink, a FIFO or the like is on the way.
var ErrNotAMessage = errors.New("only regular files pods/<uid>/containers/<container>/<8 hex digits> " +
	"below the root directory are read as termination messages, and symlinks are not followed")

// Config says where the files are and how logs are read.
type Config struct {
	// RootDir is the node's root directory, an absolute path.
	RootDir string
	// Tail returns the end of the log at path: at most maxBytes of at most
	// maxLines lines. It may be nil, then logs have none.
	Tail func(path string, maxBytes, maxLines int64) (string, error)
}

// Files makes and reads the files. It is safe for concurrent use.
type Files struct {
	root string
	tail func(path string, maxBytes, maxLines int64) (string, error)
}

// New returns the files below the root directory, which need not exist yet.
func New(cfg Config) (*Files, error) {
	if !filepath.IsAbs(cfg.RootDir) {
		return nil, fmt.Errorf("root directory %q for termination messages is not an absolute path", cfg.RootDir)
	}
	return &Files{root: filepath.Clean(cfg.RootDir), tail: cfg.Tail}, nil
}

// Create makes an empty file for one instance of a container, which anybody may
// write to, and returns its path. Missing directories are made. The same attempt
// has the same file, however often it is tried.
func (f *Files) Create(uid types.UID, container string, attempt int) (hostPath string, err error) {
	if hostPath, err = f.create(string(uid), container, attempt); err != nil {
		return "", fmt.Errorf("make the termination message file of container %q: %w", container, err)
	}
	return hostPath, nil
}

func (f *Files) create(uid, container string, attempt int) (string, error) {
	for what, name := range map[string]string{"pod UID": uid, "container name": container} {
		if !validName(name) {
			return "", fmt.Errorf("%s %q cannot be the name of a directory", what, name)
		}
	}
	dir, err := f.open(true, podsDir, uid, containersDir, container)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(dir) }()
	name := fmt.Sprintf("%0*x", nameLen, uint32(attempt)) // #nosec G115 -- a number that wraps names another file
	fd, err := openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NONBLOCK|unix.O_NOFOLLOW, fileMode)
	if err != nil {
		return "", err
	}
	err = errors.Join(unix.Fchmod(fd, fileMode), unix.Close(fd)) // the umask does not count
	if err != nil {
		return "", errors.Join(fmt.Errorf("set the mode of %s: %w", name, err), unix.Unlinkat(dir, name, 0))
	}
	return filepath.Join(f.root, podsDir, uid, containersDir, container, name), nil
}

// Read returns the message in a file that Create made: its last 4096 bytes, if it
// is longer. A missing file is an empty message. Anything else than such a file is
// [ErrNotAMessage].
func (f *Files) Read(hostPath string) (string, error) {
	message, err := f.read(hostPath)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read termination message %q: %w", hostPath, err)
	}
	return message, nil
}

func (f *Files) read(hostPath string) (string, error) {
	below, ok := strings.CutPrefix(hostPath, strings.TrimSuffix(f.root, "/")+"/")
	part := strings.Split(below, "/")
	if !ok || len(part) != 5 || part[0] != podsDir || part[2] != containersDir ||
		!validName(part[1]) || !validName(part[3]) || !instanceName(part[4]) {
		return "", ErrNotAMessage
	}
	dir, err := f.open(false, part[:4]...)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(dir) }()
	fd, err := openat(dir, part[4], unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return "", err
	}
	file := os.NewFile(uintptr(fd), hostPath)
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", ErrNotAMessage
	}
	end := io.NewSectionReader(file, max(info.Size()-maxMessage, 0), maxMessage)
	message, err := io.ReadAll(end)
	return string(message), err
}

// TailLog returns what of a log stands in for a message that was not written: its
// last 2048 bytes, and no more than 80 lines.
func (f *Files) TailLog(path string) (string, error) {
	if f.tail == nil {
		return "", nil
	}
	return f.tail(path, maxLogBytes, maxLogLines)
}

// open opens a directory below the root, step by step and without following a
// symlink.
func (f *Files) open(create bool, names ...string) (int, error) {
	if create {
		if err := os.MkdirAll(f.root, dirMode); err != nil {
			return -1, err
		}
	}
	dir, err := openat(unix.AT_FDCWD, f.root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	for _, name := range names {
		if create {
			if err := unix.Mkdirat(dir, name, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
				_ = unix.Close(dir)
				return -1, fmt.Errorf("make directory %q: %w", name, err)
			}
		}
		next, err := openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		_ = unix.Close(dir)
		if err != nil {
			return -1, err
		}
		dir = next
	}
	return dir, nil
}

// openat says ErrNotAMessage where something else than a file or a directory was
// found.
func openat(dir int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, mode)
		switch {
		case err == nil:
			return fd, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENXIO):
			return -1, fmt.Errorf("open %q: %w: %w", name, err, ErrNotAMessage)
		default:
			return -1, fmt.Errorf("open %q: %w", name, err)
		}
	}
}

// validName says whether a name can be one element of a path.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= unix.NAME_MAX && !strings.ContainsAny(name, "/\x00")
}

// instanceName says whether a file can be one of ours, or of a kubelet.
func instanceName(name string) bool {
	return len(name) == nameLen && strings.Trim(name, "0123456789abcdef") == ""
}
