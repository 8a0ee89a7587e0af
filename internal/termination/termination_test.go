package termination

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

func files(t *testing.T) *Files {
	t.Helper()
	f, err := New(Config{RootDir: filepath.Join(t.TempDir(), "root")})
	must(t, err)
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCreateAndRead(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	f := files(t)
	first, err := f.Create("uid-1", "c", 0)
	must(t, err)
	second, err := f.Create("uid-1", "c", 1)
	must(t, err)
	want := regexp.MustCompile("^" + regexp.QuoteMeta(f.root) + "/pods/uid-1/containers/c/[0-9a-f]{8}$")
	if !want.MatchString(first) || !want.MatchString(second) || first == second {
		t.Errorf("%s, %s", first, second)
	}
	info, err := os.Lstat(first)
	must(t, err)
	if info.Mode() != 0o666 {
		t.Errorf("mode %v", info.Mode())
	}
	if got, err := f.Read(first); got != "" || err != nil {
		t.Errorf("empty: %q, %v", got, err)
	}
	long := strings.Repeat("x", maxMessage) + strings.Repeat("y", 2*maxMessage-1)
	for text, want := range map[string]string{"why\n": "why\n", long: "x" + long[len(long)-maxMessage+1:], "\xff": "\xff"} {
		if len(text) > maxMessage {
			want = text[len(text)-maxMessage:]
		}
		must(t, os.WriteFile(first, []byte(text), 0o600))
		if got, err := f.Read(first); got != want || err != nil {
			t.Errorf("%d bytes: read %d, %v", len(text), len(got), err)
		}
	}
	must(t, os.RemoveAll(filepath.Join(f.root, "pods", "uid-1")))
	if got, err := f.Read(first); got != "" || err != nil {
		t.Errorf("removed: %q, %v", got, err)
	}
}

func TestDirectoriesAreTheKubelets(t *testing.T) {
	f := files(t)
	path, err := f.Create("u", "c", 0)
	must(t, err)
	for dir := filepath.Dir(path); dir != f.root; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		must(t, err)
		if info.Mode() != os.ModeDir|dirMode {
			t.Errorf("%s: %v", dir, info.Mode())
		}
	}
}

func TestCreateRefusesNames(t *testing.T) {
	f := files(t)
	for _, name := range []string{"", ".", "..", "a/b", "../x", "/", "a\x00b", strings.Repeat("n", 256)} {
		if got, err := f.Create(types.UID(name), "c", 0); err == nil {
			t.Errorf("UID %q: %s", name, got)
		}
		if got, err := f.Create("u", name, 0); err == nil {
			t.Errorf("container %q: %s", name, got)
		}
	}
	if left, err := os.ReadDir(f.root); err == nil {
		t.Errorf("made %v", left)
	}
}

func TestCreateFollowsNoSymlink(t *testing.T) {
	for _, at := range []string{"pods", "pods/u", "pods/u/containers", "pods/u/containers/c"} {
		f := files(t)
		outside := t.TempDir()
		link := filepath.Join(f.root, at)
		must(t, errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(outside, link)))
		if got, err := f.Create("u", "c", 0); err == nil {
			t.Errorf("%s is a symlink: made %s", at, got)
		}
		if made, err := os.ReadDir(outside); err != nil || len(made) > 0 {
			t.Errorf("%s is a symlink: made %v, %v", at, made, err)
		}
	}
}

// The root directory itself is the administrator's, and may be a symlink.
func TestRootMayBeASymlink(t *testing.T) {
	root := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(t.TempDir(), root))
	f, err := New(Config{RootDir: root})
	must(t, err)
	path, err := f.Create("u", "c", 0)
	must(t, err)
	must(t, os.WriteFile(path, []byte("why"), 0o600))
	if got, err := f.Read(path); got != "why" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestReadRefuses(t *testing.T) {
	f := files(t)
	path, err := f.Create("u", "c", 0)
	must(t, err)
	must(t, os.WriteFile(path, []byte("fine"), 0o600))
	dir := filepath.Dir(path)
	secret := filepath.Join(t.TempDir(), "12345678")
	must(t, os.WriteFile(secret, []byte("secret"), 0o600))
	must(t, errors.Join(
		os.Symlink(secret, dir+"/00000001"), os.Symlink(path, dir+"/00000002"), os.Symlink(dir, filepath.Dir(dir)+"/linked"),
		os.Mkdir(dir+"/00000003", 0o755), unix.Mkfifo(dir+"/00000004", 0o600), os.WriteFile(dir+"/named", []byte("secret"), 0o600),
		os.MkdirAll(f.root+"/pods/u/volumes/v", 0o755), os.WriteFile(f.root+"/pods/u/volumes/v/12345678", []byte("secret"), 0o600)))
	t.Chdir(dir)
	l, err := net.Listen("unix", "00000005") // the whole path would be too long
	must(t, err)
	defer l.Close()
	name := filepath.Base(path)
	for _, bad := range []string{
		dir + "/00000001", dir + "/00000002", filepath.Dir(dir) + "/linked/" + name, dir + "/00000003", dir + "/00000004", dir + "/00000005",
		dir + "/named", f.root + "/pods/u/volumes/v/12345678", secret, "", "/", name, dir, path + "/x", path + "/", dir + "//" + name,
		dir + "/../c/" + name, f.root + "/pods/../pods/u/containers/c/" + name, f.root + "/pods/u/../u/containers/c/" + name,
		f.root + "/pods/u/containers/../" + name, f.root + "x/pods/u/containers/c/" + name, "/etc/shadow", "/dev/zero", dir + "/\x0012345678",
	} {
		if got, err := f.Read(bad); !errors.Is(err, ErrNotAMessage) || got != "" {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
	if got, err := f.Read(path); got != "fine" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTailLog(t *testing.T) {
	f, err := New(Config{RootDir: "/r", Tail: func(path string, maxBytes, maxLines int64) (string, error) {
		if path != "/log" || maxBytes != 2048 || maxLines != 80 {
			t.Errorf("%s, %d, %d", path, maxBytes, maxLines)
		}
		return "end", nil
	}})
	must(t, err)
	if got, err := f.TailLog("/log"); got != "end" || err != nil {
		t.Error(got, err)
	}
	if got, err := files(t).TailLog("/log"); got != "" || err != nil {
		t.Error(got, err)
	}
	if _, err := New(Config{RootDir: "relative"}); err == nil {
		t.Error("a relative root is fine")
	}
}

func FuzzRead(f *testing.F) {
	root := f.TempDir()
	secret := filepath.Join(root, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		f.Fatal(err)
	}
	files, err := New(Config{RootDir: filepath.Join(root, "r")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("/pods/u/containers/c/12345678")
	f.Add("/../secret")
	f.Fuzz(func(t *testing.T, path string) {
		for _, p := range []string{path, files.root + path} {
			if got, _ := files.Read(p); got != "" {
				t.Errorf("%q: %q", p, got)
			}
		}
	})
}

func TestTheSameAttemptHasTheSameFile(t *testing.T) {
	f := files(t)
	first, err := f.Create("u", "c", 3)
	must(t, err)
	must(t, os.WriteFile(first, []byte("of the try before"), 0o600))
	again, err := f.Create("u", "c", 3)
	must(t, err)
	if message, err := f.Read(again); again != first || message != "" || err != nil {
		t.Errorf("the next try has %s with %q (%v), want %s, empty", again, message, err, first)
	}
}
