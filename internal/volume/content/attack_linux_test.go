package content

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can do that")
	}
}

// TestNothingInTheVolumeIsTrusted puts things into a volume that a container with too
// many rights could. Whatever it is, the next write succeeds, touches nothing outside
// and leaves the volume as it has to be.
func TestNothingInTheVolumeIsTrusted(t *testing.T) {
	outside := t.TempDir()
	fifo := func(path string) error { return unix.Mkfifo(path, 0o666) }
	link := func(target string) func(string) error {
		return func(path string) error { return os.Symlink(target, path) }
	}
	dir := func(path string) error {
		return errors.Join(os.Mkdir(path, 0o755), os.WriteFile(path+"/f", nil, 0o644), os.Mkdir(path+"/d", 0o755), os.WriteFile(path+"/d/f", nil, 0o644))
	}
	file := func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }
	socket := func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o666, 0) }
	hard := func(path string) error { return os.Link(outside+"/precious", path) }
	kinds := map[string]func(path string) error{
		"link to a directory": link(outside), "link to a file": link(outside + "/precious"), "relative link": link("../../../../../../../../../etc"),
		"loop": link("..data"), "dangling": link("nowhere"), "fifo": fifo, "directory": dir, "file": file, "socket": socket, "hard link": hard,
		"nothing": func(string) error { return nil },
	}
	const timestamp = "..2001_02_03_04_05_06.789"
	for kind, put := range kinds {
		for _, where := range []string{dataLink, newDataLink, newLink, timestamp, "CURRENT", "CURRENT/both", "CURRENT/more", "CURRENT/deep", "CURRENT/deep/er", "CURRENT/deep/er/both", "both"} {
			t.Run(kind+" at "+where, func(t *testing.T) {
				must(t, os.WriteFile(outside+"/precious", []byte("precious"), 0o600))
				vol := t.TempDir()
				files := generations()["one"]
				_, err := Write(t.Context(), vol, files, nil)
				must(t, err)
				target, err := os.Readlink(vol + "/" + dataLink)
				must(t, err)
				path := filepath.Join(vol, strings.Replace(where, "CURRENT", target, 1))
				must(t, os.RemoveAll(path))
				must(t, put(path))
				for range 2 {
					_, err = Write(t.Context(), vol, files, nil)
					must(t, err)
					age(t, vol)
				}
				_, err = Write(t.Context(), vol, files, nil)
				must(t, err)
				if kind == "directory" && where == "both" { // another volume may be mounted there
					if entries, err := os.ReadDir(path); err != nil || len(entries) != 2 {
						t.Errorf("the directory has %v, %v", entries, err)
					}
					must(t, os.RemoveAll(path))
					_, err = Write(t.Context(), vol, files, nil)
					must(t, err)
				}
				clean(t, vol, files)
				data, err := os.ReadFile(outside + "/precious")
				must(t, err)
				entries, err := os.ReadDir(outside)
				must(t, err)
				if string(data) != "precious" || len(entries) != 1 {
					t.Errorf("outside the volume: %q, %v", data, entries)
				}
				info, err := os.Stat(outside + "/precious")
				must(t, err)
				if info.Mode().Perm() != 0o600 {
					t.Errorf("outside the volume: mode %v", info.Mode())
				}
			})
		}
	}
}

func TestTheVolumeItselfIsNoSymlink(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/real", 0o755))
	must(t, os.Symlink("real", dir+"/v"))
	if _, err := Write(t.Context(), dir+"/v", generations()["one"], nil); err == nil {
		t.Error("written through a symlink")
	}
	if _, err := Write(t.Context(), dir+"/none", generations()["one"], nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}

// TestForeignThingsStay is for what a container has put beside the volume's own.
func TestForeignThingsStay(t *testing.T) {
	vol := t.TempDir()
	files := generations()["one"]
	_, err := Write(t.Context(), vol, files, nil)
	must(t, err)
	must(t, unix.Mkfifo(vol+"/pipe", 0o666))
	must(t, os.Mkdir(vol+"/dir", 0o700))
	must(t, os.Symlink("..data/other", vol+"/link"))
	must(t, os.WriteFile(vol+"/..name", nil, 0o600))
	before, err := os.Readlink(vol + "/" + dataLink)
	must(t, err)
	changed, err := Write(t.Context(), vol, files, nil)
	after, _ := os.Readlink(vol + "/" + dataLink)
	if changed || err != nil || before != after {
		t.Errorf("changed %t, %v: %s, then %s", changed, err, before, after)
	}
	_, err = Write(t.Context(), vol, generations()["two"], nil)
	must(t, err)
	for _, name := range []string{"pipe", "dir", "link", "..name"} {
		if _, err := os.Lstat(vol + "/" + name); err != nil {
			t.Error(err)
		}
	}
}

func TestWhatIsMountedStays(t *testing.T) {
	needRoot(t)
	vol, other := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(other+"/precious", nil, 0o600))
	files := generations()["one"]
	_, err := Write(t.Context(), vol, files, nil)
	must(t, err)
	at := vol + "/..2001_02_03_04_05_06.789"
	must(t, os.MkdirAll(at+"/deep/er", 0o755))
	for _, point := range []string{at + "/deep/er", at} {
		must(t, unix.Mount(other, point, "", unix.MS_BIND, ""))
		age(t, vol)
		changed, err := Write(t.Context(), vol, files, nil)
		if changed || !errors.Is(err, errMounted) {
			t.Errorf("%s: changed %t, %v", point, changed, err)
		}
		must(t, unix.Unmount(point, unix.MNT_DETACH))
		if _, err := os.Stat(other + "/precious"); err != nil {
			t.Fatal(err)
		}
		must(t, os.MkdirAll(at+"/deep/er", 0o755))
	}
	// In place of the files: they are written anew, and the mount is left alone.
	current, err := os.Readlink(vol + "/" + dataLink)
	must(t, err)
	must(t, os.RemoveAll(at))
	must(t, unix.Mount(other, vol+"/"+current, "", unix.MS_BIND, ""))
	changed, err := Write(t.Context(), vol, files, nil)
	must(t, unix.Unmount(vol+"/"+current, unix.MNT_DETACH))
	if !changed {
		t.Errorf("not written: %v", err)
	}
	if now := shown(t, vol); now != "one" {
		t.Errorf("readers find %q", now)
	}
	if _, err := os.Stat(other + "/precious"); err != nil {
		t.Fatal(err)
	}
}

// TestImmutable is for a file that root cannot remove: what is read is right, and the
// rest is said.
func TestImmutable(t *testing.T) {
	needRoot(t)
	vol := t.TempDir()
	_, err := Write(t.Context(), vol, generations()["one"], nil)
	must(t, err)
	f, err := os.Open(vol + "/..data/both")
	must(t, err)
	defer f.Close()
	const immutable = 0x10 // FS_IMMUTABLE_FL
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, immutable); err != nil {
		t.Skip("the file system has no such flag:", err)
	}
	changed, err := Write(t.Context(), vol, generations()["two"], nil)
	if !changed || err != nil {
		t.Errorf("changed %t, %v", changed, err)
	}
	age(t, vol)
	changed, err = Write(t.Context(), vol, generations()["two"], nil)
	if changed || !errors.Is(err, unix.EPERM) {
		t.Errorf("changed %t, %v", changed, err)
	}
	must(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0))
	_, err = Write(t.Context(), vol, generations()["two"], nil)
	must(t, err)
	clean(t, vol, generations()["two"])
}

// TestDeepRemoval is for directories nested deeper than a path can be long.
func TestDeepRemoval(t *testing.T) {
	vol := t.TempDir()
	_, err := Write(t.Context(), vol, generations()["one"], nil)
	must(t, err)
	fd, err := unix.Open(vol, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	name := "..2001_02_03_04_05_06.789"
	long := strings.Repeat("x", 200)
	for range 300 {
		must(t, unix.Mkdirat(fd, name, 0o755))
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		must(t, unix.Close(fd))
		fd, name = next, long
		must(t, unix.Symlinkat("/", fd, "link"))
	}
	must(t, unix.Close(fd))
	age(t, vol)
	_, err = Write(t.Context(), vol, generations()["one"], nil)
	must(t, err)
	clean(t, vol, generations()["one"])
}

func TestEndsWithItsContext(t *testing.T) {
	vol := t.TempDir()
	_, err := Write(t.Context(), vol, generations()["one"], nil)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	changed, err := Write(ctx, vol, generations()["two"], nil)
	if changed || !errors.Is(err, context.Canceled) {
		t.Errorf("changed %t, %v", changed, err)
	}
	clean(t, vol, generations()["one"])
}

func TestNoRoom(t *testing.T) {
	needRoot(t)
	vol := t.TempDir()
	must(t, unix.Mount("tmpfs", vol, "tmpfs", 0, "size=256k"))
	defer func() { must(t, unix.Unmount(vol, unix.MNT_DETACH)) }()
	big := func(b byte, size int) Files {
		return Files{"f": {Data: []byte(strings.Repeat(string(b), size)), Mode: 0o400}}
	}
	_, err := Write(t.Context(), vol, big('a', 100<<10), nil)
	must(t, err)
	_, err = Write(t.Context(), vol, big('b', 100<<10), nil)
	must(t, err)
	// What was just replaced makes room.
	_, err = Write(t.Context(), vol, big('c', 100<<10), nil)
	must(t, err)
	// The old files stay where the new ones do not fit.
	changed, err := Write(t.Context(), vol, big('d', 300<<10), nil)
	if changed || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("changed %t, %v", changed, err)
	}
	clean(t, vol, big('c', 100<<10))
}
