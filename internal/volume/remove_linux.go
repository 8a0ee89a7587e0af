package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// errMounted says that a directory is a mount point, so that what one sees in it
// is not ours to delete.
var errMounted = errors.New("something is mounted there, so nothing was deleted in it")

// maxDepth bounds the descriptors held while a tree is deleted. A pod can nest
// directories as deep as it likes; what lies deeper is first moved to the top.
const maxDepth = 64

// Remove deletes the volume's directory and all that is in it. It fails, and
// leaves the content alone, where something is still mounted.
func (r Ref) Remove(ctx context.Context) error {
	if err := r.validate(); err != nil {
		return err
	}
	return removeTree(ctx, filepath.Dir(r.Dir()), r.Name)
}

// removeTree deletes parent/name. It follows no symlink and crosses no mount,
// not even a bind mount of the same file system: the kernel is asked to refuse.
// A missing tree is a success.
func removeTree(ctx context.Context, parent, name string) error {
	dir, err := os.Open(parent)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", parent, err)
	}
	defer dir.Close()
	r := &remover{}
	for {
		r.moved = false
		if err := r.remove(ctx, int(dir.Fd()), name, parent, 0); err != nil || !r.moved {
			return err
		}
	}
}

// remover deletes one tree.
type remover struct {
	top   int  // the tree's own directory, open
	count int  // names tried by moveUp
	moved bool // something was moved to the top: go round again
}

// remove deletes name in the open directory at. path is for messages only.
func (r *remover) remove(ctx context.Context, at int, name, path string, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path = filepath.Join(path, name)
	err := unix.Unlinkat(at, name, 0)
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("delete %s: %w", path, errMounted)
	case !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM):
		return fmt.Errorf("delete %s: %w", path, err)
	}
	if depth >= maxDepth {
		return r.moveUp(at, name, path)
	}
	if err := r.empty(ctx, at, name, path, depth); err != nil {
		return err
	}
	err = unix.Unlinkat(at, name, unix.AT_REMOVEDIR)
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.ENOTEMPTY) && r.moved && depth == 0:
		return nil
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("delete %s: %w", path, errMounted)
	}
	return fmt.Errorf("delete directory %s: %w", path, err)
}

// empty deletes what is in the directory name.
func (r *remover) empty(ctx context.Context, at int, name, path string, depth int) error {
	fd, err := unix.Openat2(at, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EXDEV):
		return fmt.Errorf("delete %s: %w", path, errMounted)
	case err != nil:
		return fmt.Errorf("open %s: %w", path, err)
	}
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	if depth == 0 {
		r.top = fd
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list %s: %w", path, err)
	}
	for _, child := range names {
		if err := r.remove(ctx, fd, child, path, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// moveUp takes a directory that lies too deep into the tree's top.
func (r *remover) moveUp(at int, name, path string) error {
	for {
		up := ".deep-" + strconv.Itoa(r.count)
		r.count++
		err := unix.Renameat2(at, name, r.top, up, unix.RENAME_NOREPLACE)
		switch {
		case errors.Is(err, unix.EEXIST):
			continue
		case errors.Is(err, unix.ENOENT):
			return nil
		case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EXDEV):
			return fmt.Errorf("delete %s: %w", path, errMounted)
		case err != nil:
			return fmt.Errorf("move %s up to delete it: %w", path, err)
		}
		r.moved = true
		return nil
	}
}
