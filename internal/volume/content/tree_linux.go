package content

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// tries bounds how often one thing is tried anew that somebody else disturbs.
const tries = 100

// tree does what is done in one volume, one system call a method. Paths are relative
// to the volume's directory; no symlink in them is followed, and no mount crossed.
type tree struct {
	dir *os.File
	// step is called before each call that changes anything; tests fail there.
	step func(what string) error
}

// openTree opens a volume's directory, which lies where only the agent can write.
func openTree(dir string) (*tree, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return &tree{dir: os.NewFile(uintptr(fd), dir), step: func(string) error { return nil }}, nil
}

func (t *tree) close() { _ = t.dir.Close() }

func (t *tree) fd() int { return int(t.dir.Fd()) }

// failed says what was tried.
func (t *tree) failed(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: filepath.Join(t.dir.Name(), name), Err: err}
}

// change runs a call that changes something.
func (t *tree) change(op, name string, call func() error) error {
	if err := t.step(op + " " + name); err != nil {
		return err
	}
	_, err := retry(func() (int, error) { return 0, call() })
	return t.failed(op, name, err)
}

func retry(call func() (int, error)) (int, error) {
	for range tries {
		n, err := call()
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return n, err
		}
	}
	return -1, unix.EAGAIN
}

// open opens what is there. What else than a directory it may be is for the flags
// to say: O_PATH waits for nobody and wakes no device.
func (t *tree) open(name string, flags int) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_NOFOLLOW | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := retry(func() (int, error) { return unix.Openat2(t.fd(), name, &how) })
	if err != nil {
		return nil, t.failed("open", name, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(t.dir.Name(), name)), nil
}

// openDir opens a directory to list it or to change its mode.
func (t *tree) openDir(name string) (*os.File, error) {
	return t.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
}

// in calls a function with the open directory that a name lies in.
func (t *tree) in(name string, call func(dir int, base string) error) error {
	parent := path.Dir(name)
	if parent == "." {
		return call(t.fd(), name)
	}
	dir, err := t.open(parent, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	return call(int(dir.Fd()), path.Base(name))
}

// mkdir makes a directory that nobody but its owner can enter.
func (t *tree) mkdir(name string) error {
	return t.in(name, func(dir int, base string) error {
		return t.change("mkdir", name, func() error { return unix.Mkdirat(dir, base, 0o700) })
	})
}

// mkdirFresh makes a directory with the prefix and a number as its name.
func (t *tree) mkdirFresh(prefix string) (name string, err error) {
	for range tries {
		name = prefix + strconv.FormatUint(uint64(rand.Uint32()), 10) //nolint:gosec // a name, no secret
		if err = t.mkdir(name); !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return name, err
}

// create makes a file. Nobody else can open it before it has its mode.
func (t *tree) create(name string, file File, group *int64) error {
	return t.in(name, func(dir int, base string) error {
		fd := -1
		err := t.change("create", name, func() (err error) {
			fd, err = unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
			return err
		})
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), name)
		err = errors.Join(t.put(f, name, file.Data), t.give(f, name, file.Owner, group, fileMode(file, group)))
		return errors.Join(err, t.failed("close", name, f.Close()))
	})
}

func (t *tree) put(f *os.File, name string, data []byte) error {
	if err := t.step("write " + name); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return t.failed("write", name, errors.Unwrap(err))
	}
	return nil
}

// give sets owner, group and mode, as far as they are not so.
func (t *tree) give(f *os.File, name string, owner, group *int64, mode uint32) error {
	now, err := stat(f)
	if err != nil {
		return t.failed("stat", name, err)
	}
	uid, gid, same := number(owner), number(group), now.Mode&unixPermissions == mode
	if uid >= 0 && uint32(uid) != now.Uid || gid >= 0 && uint32(gid) != now.Gid {
		err := t.change("chown", name, func() error { return unix.Fchown(int(f.Fd()), uid, gid) })
		if err != nil {
			return err
		}
		same = false // chown may have taken bits away
	}
	if same {
		return nil
	}
	return t.change("chmod", name, func() error { return unix.Fchmod(int(f.Fd()), mode) })
}

// unixPermissions are all bits that chmod sets.
const unixPermissions = 0o7777

// number is a user or group for chown; -1 changes nothing.
func number(id *int64) int {
	if id == nil {
		return -1
	}
	return int(*id)
}

func stat(f *os.File) (unix.Stat_t, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Fstat(int(f.Fd()), &st) })
	return st, err
}

// symlink makes a symlink at the top.
func (t *tree) symlink(target, name string, owner, group *int64) error {
	err := t.change("symlink", name, func() error { return unix.Symlinkat(target, t.fd(), name) })
	if err != nil || owner == nil && group == nil {
		return err
	}
	return t.change("lchown", name, func() error {
		return unix.Fchownat(t.fd(), name, number(owner), number(group), unix.AT_SYMLINK_NOFOLLOW)
	})
}

// readlink returns where a symlink at the top leads to. What is none is unix.EINVAL.
func (t *tree) readlink(name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := retry(func() (int, error) { return unix.Readlinkat(t.fd(), name, buf) })
	if err != nil {
		return "", t.failed("readlink", name, err)
	}
	return string(buf[:n]), nil
}

// rename puts one name at the top where another is, whatever is there. What was
// there is gone, or has the first name.
func (t *tree) rename(from, to string) error {
	err := t.change("rename", from, func() error { return unix.Renameat(t.fd(), from, t.fd(), to) })
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return t.change("exchange", from, func() error {
		return unix.Renameat2(t.fd(), from, t.fd(), to, unix.RENAME_EXCHANGE)
	})
}

// isDir reports whether a directory has the name at the top.
func (t *tree) isDir(name string) (bool, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Fstatat(t.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, t.failed("stat", name, err)
}

// each calls a function with the names in a directory. Names that come or go
// meanwhile may be missed.
func each(dir *os.File, call func(name string) error) error {
	for {
		names, err := dir.Readdirnames(256)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list %s: %w", dir.Name(), err)
		}
		for _, name := range names {
			if err := call(name); err != nil {
				return err
			}
		}
	}
}
