package content

import (
	"context"
	"errors"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// errMounted says that what is in a directory is not ours to delete.
var errMounted = errors.New("something is mounted there, so nothing was deleted in it")

// remove deletes what has a name at the top, with all that is in it. A missing one
// is a success. It follows no symlink, crosses no mount and, however deep directories
// are nested, has two of them open: each is emptied into the topmost.
func (t *tree) remove(ctx context.Context, name string) error {
	full, err := t.delete(t.fd(), name, name)
	if err != nil || !full {
		return err
	}
	for moved := 0; ; {
		again := false
		top, err := t.openDir(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return mounted(err)
		}
		err = each(top, func(child string) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			full, err := t.delete(int(top.Fd()), child, name+"/"+child)
			if err != nil || !full {
				return err
			}
			again = true
			return t.hoist(ctx, int(top.Fd()), name, child, &moved)
		})
		_ = top.Close()
		if err != nil {
			return err
		}
		if !again {
			break
		}
	}
	full, err = t.delete(t.fd(), name, name)
	if err == nil && full {
		err = t.failed("rmdir", name, unix.ENOTEMPTY)
	}
	return err
}

// delete deletes a file or an empty directory. One that is full stays. The path is
// for messages.
func (t *tree) delete(dir int, name, path string) (full bool, err error) {
	err = t.change("unlink", path, func() error { return unix.Unlinkat(dir, name, 0) })
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return false, nil
	case !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM):
		return false, mounted(err)
	}
	refused := err // a directory, or a file that may not be changed
	err = t.change("rmdir", path, func() error { return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) })
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
		return true, nil
	case errors.Is(err, unix.ENOTDIR):
		return false, refused
	}
	return false, mounted(err)
}

// hoist empties a directory in name: what can be deleted is, and full directories go
// up to name itself.
func (t *tree) hoist(ctx context.Context, top int, name, child string, moved *int) error {
	path := name + "/" + child
	dir, err := t.openDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return mounted(err)
	}
	defer dir.Close()
	return each(dir, func(inner string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		full, err := t.delete(int(dir.Fd()), inner, path+"/"+inner)
		if err != nil || !full {
			return err
		}
		for {
			up := "..up-" + strconv.Itoa(*moved)
			*moved++
			err := t.change("move up", path+"/"+inner, func() error {
				return unix.Renameat2(int(dir.Fd()), inner, top, up, unix.RENAME_NOREPLACE)
			})
			if !errors.Is(err, fs.ErrExist) {
				return mounted(err)
			}
		}
	})
}

// mounted puts the kernel's ways to say so into words.
func mounted(err error) error {
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EXDEV) {
		return errors.Join(err, errMounted)
	}
	return err
}
