package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

const (
	// groupFile and groupDir are what an fsGroup may do with what is in its volumes, as
	// the kubelet has it.
	groupFile = fs.FileMode(0o660)
	groupDir  = fs.FileMode(0o770) | fs.ModeSetgid
)

// errExists tells of a name that is there twice: a tree with such a thing tries
// to have something written through a link that it has made before.
var errExists = errors.New("it is there twice; the repository is damaged or hostile")

// sink writes into a volume: only what is new, only below its root, only as much
// as the limits say.
type sink struct {
	root   *os.Root
	group  *int64
	limits Limits
	bytes  int64
	files  int
}

func newSink(root *os.Root, group *int64, limits Limits) *sink {
	return &sink{root: root, group: group, limits: limits, bytes: limits.Written, files: limits.Files}
}

// take counts one more entry of the volume.
func (s *sink) take() error {
	s.files--
	if s.files < 0 {
		return fmt.Errorf("the repository has more than %d files, which is the limit", s.limits.Files)
	}
	return nil
}

// spend counts bytes of the volume.
func (s *sink) spend(n int) error {
	s.bytes -= int64(n)
	if s.bytes < 0 {
		return fmt.Errorf("the repository needs more than %d bytes, which is the limit", s.limits.Written)
	}
	return nil
}

// share makes a directory, which is new, what the fsGroup needs.
func (s *sink) share(path string) error {
	if s.group == nil {
		return nil
	}
	info, err := s.root.Lstat(path)
	if err != nil {
		return err
	}
	if err := s.root.Lchown(path, -1, int(*s.group)); err != nil {
		return fmt.Errorf("give %q to the fsGroup: %w", path, err)
	}
	return s.root.Chmod(path, info.Mode()|groupDir)
}

// mkdir makes a directory that is not there yet.
func (s *sink) mkdir(path string) error {
	if err := s.take(); err != nil {
		return err
	}
	if err := s.root.Mkdir(path, 0o755); err != nil {
		return failed("make directory", path, err)
	}
	if err := s.root.Chmod(path, 0o755); err != nil { // whatever the umask
		return failed("make directory", path, err)
	}
	return s.share(path)
}

// mkdirs makes a directory and those above it, none of which is there yet.
func (s *sink) mkdirs(path string) error {
	for i := range path + "/" {
		if i == len(path) || path[i] == '/' {
			if err := s.mkdir(path[:i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// create makes a file that is not there yet, open for reading and writing.
func (s *sink) create(path string, mode fs.FileMode) (*os.File, error) {
	if err := s.take(); err != nil {
		return nil, err
	}
	f, err := s.root.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, failed("make file", path, err)
	}
	if s.group != nil {
		mode |= groupFile
		err = f.Chown(-1, int(*s.group))
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if err != nil {
		_ = f.Close()
		return nil, failed("make file", path, err)
	}
	return f, nil
}

// write makes a file with this content.
func (s *sink) write(ctx context.Context, path string, mode fs.FileMode, content io.Reader) error {
	f, err := s.create(path, mode)
	if err != nil {
		return err
	}
	err = s.copy(ctx, f, content)
	if err = errors.Join(err, f.Close()); err != nil {
		return failed("write", path, err)
	}
	return nil
}

// text makes a file of the agent's own.
func (s *sink) text(ctx context.Context, path, content string) error {
	return s.write(ctx, path, 0o644, strings.NewReader(content))
}

// copy writes a stream as long as there is room and time.
func (s *sink) copy(ctx context.Context, to io.Writer, from io.Reader) error {
	_, err := io.Copy(counted{to, func(n int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return s.spend(n)
	}}, struct{ io.Reader }{from})
	return err
}

// symlink makes a link that is not there yet. Nobody here ever follows it.
func (s *sink) symlink(path, to string) error {
	if err := s.take(); err != nil {
		return err
	}
	if err := s.spend(len(to)); err != nil {
		return err
	}
	if err := s.root.Symlink(to, path); err != nil {
		return failed("make link", path, err)
	}
	if s.group == nil {
		return nil
	}
	return s.root.Lchown(path, -1, int(*s.group))
}

// counted asks before each write.
type counted struct {
	to  io.Writer
	may func(int) error
}

// Write implements io.Writer.
func (c counted) Write(b []byte) (int, error) {
	if err := c.may(len(b)); err != nil {
		return 0, err
	}
	return c.to.Write(b)
}

func failed(what, path string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		err = errExists
	}
	return fmt.Errorf("%s %q: %w", what, path, err)
}
