package termination

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/safedir"
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
		if !safedir.ValidName(name) {
			return "", fmt.Errorf("%s %q cannot be the name of a directory", what, name)
		}
	}
	dir, err := safedir.Make(f.root, dirMode, podsDir, uid, containersDir, container)
	if err != nil {
		return "", ours(err)
	}
	defer dir.Close()
	name := fmt.Sprintf("%0*x", nameLen, uint32(attempt)) // #nosec G115 -- a number that wraps names another file
	file, err := dir.File(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return "", ours(err)
	}
	if err := errors.Join(file.Chmod(fileMode), file.Close()); err != nil { // the umask does not count
		return "", errors.Join(fmt.Errorf("set the mode of %s: %w", name, err), dir.Remove(name))
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
		!safedir.ValidName(part[1]) || !safedir.ValidName(part[3]) || !instanceName(part[4]) {
		return "", ErrNotAMessage
	}
	dir, err := safedir.Open(f.root, part[:4]...)
	if err != nil {
		return "", ours(err)
	}
	defer dir.Close()
	file, err := dir.File(part[4], os.O_RDONLY, 0)
	if err != nil {
		return "", ours(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", err
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

// ours says ErrNotAMessage of what is in the way.
func ours(err error) error {
	if errors.Is(err, safedir.ErrNotPlain) {
		return fmt.Errorf("%w: %w", err, ErrNotAMessage)
	}
	return err
}

// instanceName says whether a file can be one of ours, or of a kubelet.
func instanceName(name string) bool {
	return len(name) == nameLen && strings.Trim(name, "0123456789abcdef") == ""
}
