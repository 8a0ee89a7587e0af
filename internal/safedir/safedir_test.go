package safedir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMakeAndOpen(t *testing.T) {
	root := t.TempDir() + "/new/root"
	if _, err := Open(root, "pods"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening what is not there: %v", err)
	}
	d, err := Make(root, 0o750, "pods", "u")
	must(t, err)
	must(t, d.Write("f", []byte("hello"), 0o600))
	d.Close()
	info, err := os.Lstat(root + "/pods/u")
	must(t, err)
	if info.Mode().Perm() != 0o750&^umask() {
		t.Errorf("mode %v", info.Mode())
	}
	d, err = Open(root, "pods", "u")
	must(t, err)
	defer d.Close()
	if data, err := d.Read("f", 5); string(data) != "hello" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	if data, err := d.Read("f", 4); data != nil || !errors.Is(err, ErrTooLong) {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := d.Read("g", 5); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	must(t, d.Remove("f"))
	must(t, d.Remove("f"))
	if _, err := os.Lstat(root + "/pods/u/f"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func umask() fs.FileMode {
	old := unix.Umask(0)
	unix.Umask(old)
	return fs.FileMode(old)
}

func TestWriteReplacesInOneStep(t *testing.T) {
	root := t.TempDir()
	d, err := Open(root)
	must(t, err)
	defer d.Close()
	must(t, os.WriteFile(root+"/f", []byte("a longer old text"), 0o666))
	must(t, os.WriteFile(root+"/.f.tmp", []byte("of a crash"), 0o666))
	held, err := os.Open(root + "/f")
	must(t, err)
	defer held.Close()
	old := unix.Umask(0o777)
	err = d.Write("f", []byte("new"), 0o640)
	unix.Umask(old)
	must(t, err)
	now, err := os.ReadFile(root + "/f")
	must(t, err)
	info, err := os.Lstat(root + "/f")
	must(t, err)
	heldInfo, err := held.Stat()
	must(t, err)
	if string(now) != "new" || info.Mode() != 0o640 || os.SameFile(info, heldInfo) {
		t.Errorf("%q, %v", now, info.Mode())
	}
	must(t, os.Mkdir(root+"/dir", 0o700))
	if err := d.Write("dir", []byte("x"), 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	left, err := os.ReadDir(root)
	must(t, err)
	if len(left) != 2 {
		t.Errorf("left %v", left)
	}
}

// Wherever on the way a symlink lies, and whatever it leads to, nothing is opened,
// made or changed behind it.
func TestNoSymlinkIsFollowed(t *testing.T) {
	for _, at := range []string{"pods", "pods/u", "pods/u/f"} {
		root, outside := t.TempDir(), t.TempDir()
		target := outside
		if strings.HasSuffix(at, "/f") {
			target = outside + "/precious"
			must(t, os.WriteFile(target, []byte("precious"), 0o600))
		}
		must(t, errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(root, at)), 0o750), os.Symlink(target, filepath.Join(root, at))))
		before, err := os.ReadDir(outside)
		must(t, err)
		for what, walk := range map[string]func() (*Dir, error){
			"open": func() (*Dir, error) { return Open(root, "pods", "u") },
			"make": func() (*Dir, error) { return Make(root, 0o750, "pods", "u") },
		} {
			d, err := walk()
			if err == nil {
				var f *os.File
				f, err = d.File("f", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
				_ = f.Close()
				if _, readErr := d.Read("f", 100); !errors.Is(readErr, ErrNotPlain) {
					t.Errorf("%s %s: read %v", what, at, readErr)
				}
				d.Close()
			}
			if !errors.Is(err, ErrNotPlain) {
				t.Errorf("%s %s: %v", what, at, err)
			}
		}
		after, err := os.ReadDir(outside)
		must(t, err)
		if len(before) != len(after) {
			t.Errorf("%s: made %v", at, after)
		}
	}
}

func TestWriteAndRemoveLeaveAloneWhatASymlinkLeadsTo(t *testing.T) {
	root, precious := t.TempDir(), t.TempDir()+"/precious"
	must(t, os.WriteFile(precious, []byte("precious"), 0o600))
	d, err := Open(root)
	must(t, err)
	defer d.Close()
	for _, name := range []string{"f", ".f.tmp"} {
		must(t, os.Symlink(precious, filepath.Join(root, name)))
	}
	must(t, d.Write("f", []byte("new"), 0o600))
	must(t, os.Symlink(precious, root+"/g"))
	must(t, d.Remove("g"))
	if data, err := os.ReadFile(precious); string(data) != "precious" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	if info, err := os.Lstat(root + "/f"); err != nil || !info.Mode().IsRegular() {
		t.Errorf("%v, %v", info, err)
	}
}

func TestOtherKinds(t *testing.T) {
	root := t.TempDir()
	must(t, errors.Join(os.Mkdir(root+"/dir", 0o700), unix.Mkfifo(root+"/fifo", 0o600), os.WriteFile(root+"/file", nil, 0o600)))
	d, err := Open(root)
	must(t, err)
	defer d.Close()
	for _, name := range []string{"dir", "fifo"} {
		for _, flags := range []int{os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_CREATE} {
			if _, err := d.File(name, flags, 0o600); !errors.Is(err, ErrNotPlain) {
				t.Errorf("%s %x: %v", name, flags, err)
			}
		}
	}
	for _, name := range []string{"file", "fifo"} {
		if _, err := Open(root, name); !errors.Is(err, ErrNotPlain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, os.Symlink("dir", root+"/link"))
	if names, err := d.Dirs(); err != nil || !slices.Equal(names, []string{"dir"}) {
		t.Errorf("%q, %v", names, err)
	}
}

func TestNamesAreChecked(t *testing.T) {
	root := t.TempDir()
	d, err := Open(root)
	must(t, err)
	defer d.Close()
	for _, bad := range []string{"", ".", "..", "a/b", "/a", "../a", "a\x00b", strings.Repeat("n", 256)} {
		_, openErr := Open(root, bad)
		_, makeErr := Make(root, 0o750, bad)
		_, fileErr := d.File(bad, os.O_RDWR|os.O_CREATE, 0o600)
		_, readErr := d.Read(bad, 1)
		for what, err := range map[string]error{
			"open": openErr, "make": makeErr, "file": fileErr, "read": readErr, "write": d.Write(bad, nil, 0o600), "remove": d.Remove(bad),
		} {
			if err == nil || ValidName(bad) {
				t.Errorf("%s %q is fine", what, bad)
			}
		}
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestTheRootMayBeASymlink(t *testing.T) {
	root, links := t.TempDir(), t.TempDir()
	must(t, os.Symlink(root, links+"/root"))
	d, err := Make(links+"/root", 0o750, "pods")
	must(t, err)
	defer d.Close()
	must(t, d.Write("f", nil, 0o600))
	if _, err := os.Lstat(root + "/pods/f"); err != nil {
		t.Error(err)
	}
}

// TestTaken: directories do not count, and no symlink is followed.
func TestTaken(t *testing.T) {
	root := t.TempDir()
	must(t, os.MkdirAll(root+"/pod/a/sub", 0o755))
	must(t, os.WriteFile(root+"/pod/a/log", make([]byte, 10_000), 0o600))
	must(t, os.WriteFile(root+"/pod/a/empty", nil, 0o600))
	must(t, os.WriteFile(root+"/large", make([]byte, 1<<20), 0o600))
	must(t, os.Symlink(root+"/large", root+"/pod/a/link"))
	must(t, os.Symlink(root, root+"/pod/b"))
	pod, err := Open(root, "pod")
	must(t, err)
	defer pod.Close()
	a, err := pod.Open("a")
	must(t, err)
	defer a.Close()
	if bytes, files, err := a.Taken(100); bytes < 10_000 || bytes > 100_000 || files != 3 || err != nil {
		t.Errorf("%d bytes, %d files, %v", bytes, files, err)
	}
	for _, name := range []string{"b", "..", "a/sub"} {
		if d, err := pod.Open(name); err == nil {
			d.Close()
			t.Errorf("%q was opened", name)
		}
	}
	a, err = pod.Open("a")
	must(t, err)
	defer a.Close()
	if _, files, err := a.Taken(1); files > 1 || err != nil {
		t.Errorf("%d files, %v", files, err)
	}
}
