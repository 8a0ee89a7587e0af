package ownership

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSymlinksLeadNowhere(t *testing.T) {
	needRoot(t)
	outside := t.TempDir()
	write(t, filepath.Join(outside, "secret"), 0o600)
	must(t, os.Chmod(outside, 0o700))
	dir := t.TempDir()
	must(t, os.Symlink(outside, filepath.Join(dir, "dir")))
	must(t, os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "file")))
	must(t, os.Symlink("..", filepath.Join(dir, "up")))
	must(t, os.Symlink("self", filepath.Join(dir, "self")))
	if r := apply(t, dir, options()); r.Files != 5 {
		t.Errorf("%+v, want 4 links and the root", r)
	}
	for path, mode := range map[string]uint32{outside: 0o700, filepath.Join(outside, "secret"): 0o600} {
		if got := look(t, path); got != (entry{0, mode}) {
			t.Errorf("%s has become %+v", path, got)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(outside, link))
	if _, err := Apply(t.Context(), link, options()); err == nil || look(t, outside).gid == group {
		t.Errorf("the root itself was a link: %v", err)
	}
}

// Somebody exchanges directories and files for symlinks all the time.
func TestSwapping(t *testing.T) {
	needRoot(t)
	outside := t.TempDir()
	must(t, os.Mkdir(filepath.Join(outside, "d"), 0o700))
	write(t, filepath.Join(outside, "d", "f"), 0o600)
	write(t, filepath.Join(outside, "f"), 0o600)
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	write(t, filepath.Join(dir, "d", "f"), 0o600)
	write(t, filepath.Join(dir, "f"), 0o600)
	must(t, os.Symlink(filepath.Join(outside, "d"), filepath.Join(dir, "ld")))
	must(t, os.Symlink(filepath.Join(outside, "f"), filepath.Join(dir, "lf")))

	ctx, cancel := context.WithCancel(t.Context())
	var swapping sync.WaitGroup
	for _, pair := range [][2]string{{"d", "ld"}, {"f", "lf"}} {
		swapping.Go(func() {
			for ctx.Err() == nil {
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, pair[0]), unix.AT_FDCWD, filepath.Join(dir, pair[1]), unix.RENAME_EXCHANGE)
			}
		})
	}
	for i := range 2000 {
		// It has to be changed each time, else nothing is opened.
		g := int64(group + i%2)
		if _, err := Apply(t.Context(), dir, Options{Group: &g}); err != nil && !strings.Contains(err.Error(), "again and again") {
			t.Error(err)
			break
		}
	}
	cancel()
	swapping.Wait()
	for _, path := range []string{"d", "d/f", "f"} {
		if got := look(t, filepath.Join(outside, path)); got.gid != 0 {
			t.Errorf("outside, %s has become %+v", path, got)
		}
	}
}

func TestMountsAreNotCrossed(t *testing.T) {
	needRoot(t)
	other := t.TempDir()
	write(t, filepath.Join(other, "f"), 0o600)
	must(t, os.Chmod(other, 0o700))
	dir := t.TempDir()
	mount := func(source, target, fstype string, flags uintptr) {
		t.Helper()
		if err := unix.Mount(source, target, fstype, flags, ""); errors.Is(err, unix.EPERM) {
			t.Skip("mounting is not allowed here")
		} else {
			must(t, err)
		}
		t.Cleanup(func() { must(t, unix.Unmount(target, unix.MNT_DETACH)) })
	}
	must(t, os.Mkdir(filepath.Join(dir, "bind"), 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "tmpfs"), 0o700))
	write(t, filepath.Join(dir, "file"), 0o600)
	mount(other, filepath.Join(dir, "bind"), "", unix.MS_BIND) // of the same file system
	mount("tmpfs", filepath.Join(dir, "tmpfs"), "tmpfs", 0)
	mount(filepath.Join(other, "f"), filepath.Join(dir, "file"), "", unix.MS_BIND)
	write(t, filepath.Join(dir, "tmpfs", "f"), 0o600)
	if r := apply(t, dir, options()); r.Files != 1 {
		t.Errorf("%+v, want the root only", r)
	}
	for _, path := range []string{other, filepath.Join(other, "f"), filepath.Join(dir, "tmpfs"), filepath.Join(dir, "tmpfs/f")} {
		if got := look(t, path); got.gid == group {
			t.Errorf("%s has become %+v", path, got)
		}
	}
	mount(dir, other, "", unix.MS_BIND) // the root of a volume is one, as a rule
	if r := apply(t, other, options()); r.Files != 4 {
		t.Errorf("%+v, want the root, and what the bind mount shows", r)
	}
}

// A tree deeper than any path may be long, and than there may be open files.
func TestDeepTree(t *testing.T) {
	needRoot(t)
	const depth = 6000
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	for range depth {
		must(t, unix.Mkdirat(fd, "d", 0o700))
		for _, name := range []string{"a", "z"} { // one of them comes after it, mostly
			f, err := unix.Openat(fd, name, unix.O_CREAT|unix.O_WRONLY, 0o600)
			must(t, err)
			must(t, unix.Close(f))
		}
		next, err := unix.Openat(fd, "d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		must(t, unix.Close(fd))
		fd = next
	}
	must(t, unix.Close(fd))
	var limit, low unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	low = limit
	low.Cur = 200
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	defer func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
	if r := apply(t, dir, options()); r.Files != 3*depth+1 || r.Refused != 0 {
		t.Errorf("%+v, want %d files", r, 3*depth+1)
	}
	if r := apply(t, dir, options()); r.Files != 3*depth+1 {
		t.Errorf("the second time: %+v", r)
	}
}

// Where a directory has gone while the walk was in it, there is no way back.
func TestMovedAway(t *testing.T) {
	needRoot(t)
	dir, away := t.TempDir(), t.TempDir()
	path := dir
	for range window + 20 {
		path = filepath.Join(path, "d")
		must(t, os.Mkdir(path, 0o700))
	}
	root, err := openRoot(dir)
	must(t, err)
	w := &walker{group: group, bits: fileBits, files: &atomic.Int64{}, buf: make([]byte, bufSize), frames: []*frame{root}}
	defer w.close()
	for range window + 20 {
		name, err := w.next(w.frames[len(w.frames)-1])
		must(t, err)
		must(t, w.visit(name))
	}
	must(t, os.Rename(filepath.Join(dir, "d/d/d"), filepath.Join(away, "d")))
	write(t, filepath.Join(away, "other"), 0o600)
	if err := w.walk(t.Context()); !errors.Is(err, errMoved) {
		t.Errorf("%v, want %v", err, errMoved)
	}
	for _, path := range []string{away, filepath.Join(away, "other")} {
		if look(t, path).gid == group {
			t.Errorf("%s, outside, has been changed", path)
		}
	}
	apply(t, dir, options())
}

func TestHardLinks(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), 0o600)
	for i := range 20 {
		must(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, fmt.Sprint("l", i))))
	}
	if r := apply(t, dir, options()); r.Files != 22 {
		t.Errorf("%+v", r)
	}
	if got := look(t, filepath.Join(dir, "a")); got != (entry{group, 0o660}) {
		t.Errorf("%+v", got)
	}
}
