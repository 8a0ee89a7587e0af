package volume

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"nodeagent.dev/nodeagent/internal/pod"
)

// subPathBed is a manager and a volume of pod "uid" with files in and outside it.
func subPathBed(t *testing.T) (m *Manager, volume string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	root := t.TempDir()
	m, err := New(Config{RootDir: root}, nil, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Unmount(context.Background(), pod.Ref{UID: "uid"}); err != nil { // the test's context has ended
			t.Error(err)
		}
		if left, err := mountsBelow(m.root); err != nil || len(left) > 0 {
			t.Errorf("mounts left: %v (%v)", left, err)
		}
	})
	volume = filepath.Join(m.root, "volume")
	for _, dir := range []string{volume, filepath.Join(volume, "dir"), filepath.Join(m.root, "outside")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"volume/dir/file", "outside/secret"} {
		if err := os.WriteFile(filepath.Join(m.root, file), []byte(file), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return m, volume
}

func TestSubPathsAreMounted(t *testing.T) {
	m, volume := subPathBed(t)
	if err := os.Symlink("dir", filepath.Join(volume, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(volume, 0o777|os.ModeSetgid|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	wanted := []pod.SubPath{
		{Index: 0, Volume: "v", HostPath: volume, Path: "dir"},
		{Index: 2, Volume: "v", HostPath: volume, Path: "dir/file"},
		{Index: 3, Volume: "v", HostPath: volume, Path: "link/file"},
		{Index: 4, Volume: "v", HostPath: volume, Path: "new/deep"},
	}
	for range 2 { // the second time finds what the first one made
		got, err := m.SubPaths(t.Context(), "uid", "c", wanted)
		if err != nil {
			t.Fatal(err)
		}
		base := filepath.Join(m.root, "pods/uid/volume-subpaths/v/c")
		want := map[int]string{0: base + "/0", 2: base + "/2", 3: base + "/3", 4: base + "/4"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
	mounts, err := mountsBelow(filepath.Join(m.root, "pods"))
	if err != nil || len(mounts) != len(wanted) {
		t.Fatalf("%d mounts, want one for each of %d paths (%v)", len(mounts), len(wanted), err)
	}
	for path, want := range map[string]string{"0/file": "volume/dir/file", "2": "volume/dir/file", "3": "volume/dir/file"} {
		got, err := os.ReadFile(filepath.Join(m.root, "pods/uid/volume-subpaths/v/c", path))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
	for _, made := range []string{"new", "new/deep"} {
		info, err := os.Stat(filepath.Join(volume, made))
		if err != nil || info.Mode() != os.ModeDir|os.ModeSetgid|os.ModeSticky|0o777 {
			t.Errorf("%s: mode %v (%v), want the volume's", made, info.Mode(), err)
		}
	}
}

// What a name stands for may change between two instances of a container.
func TestSubPathFollowsANewTarget(t *testing.T) {
	m, volume := subPathBed(t)
	wanted := []pod.SubPath{{Volume: "v", HostPath: volume, Path: "x"}}
	for _, content := range []string{"", "file", "", "other file"} {
		path := filepath.Join(volume, "x")
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if content != "" {
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := m.SubPaths(t.Context(), "uid", "c", wanted)
		if err != nil {
			t.Fatal(err)
		}
		if content == "" {
			if info, err := os.Stat(got[0]); err != nil || !info.IsDir() {
				t.Errorf("a directory is wanted, found %v (%v)", info, err)
			}
		} else if data, err := os.ReadFile(got[0]); err != nil || string(data) != content {
			t.Errorf("read %q (%v), want %q", data, err, content)
		}
	}
}

func TestSubPathStaysInItsVolume(t *testing.T) {
	m, volume := subPathBed(t)
	for name, target := range map[string]string{"up": "../outside", "abs": filepath.Join(m.root, "outside"), "self": "/proc/self/root"} {
		if err := os.Symlink(target, filepath.Join(volume, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"up", "up/secret", "up/new", "abs", "abs/secret", "abs/new", "self/etc", "dir/file/below", "dir/../../outside"} {
		got, err := m.SubPaths(t.Context(), "uid", "c", []pod.SubPath{{Volume: "v", HostPath: volume, Path: path}})
		if err == nil {
			t.Errorf("%s was mounted at %s", path, got[0])
			continue
		}
		if strings.Contains(err.Error(), m.root) {
			t.Errorf("%s: the error tells of the node: %v", path, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(m.root, "outside/new")); err == nil {
		t.Error("a directory was made outside the volume")
	}
}

// A container that shares the volume swaps a directory for a symlink while
// another one starts: whatever it hits, nothing outside is ever shown.
func TestSubPathRace(t *testing.T) {
	m, volume := subPathBed(t)
	swapped, spare := filepath.Join(volume, "swap"), filepath.Join(volume, "spare")
	if err := os.Mkdir(swapped, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(m.root, "outside"), spare); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var swaps sync.WaitGroup
	swaps.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, swapped, unix.AT_FDCWD, spare, unix.RENAME_EXCHANGE)
			}
		}
	})
	mounted, refused := 0, 0
	for i := range 2000 {
		path := []string{"swap", "swap/secret", "swap/new"}[i%3]
		got, err := m.SubPaths(t.Context(), "uid", "c", []pod.SubPath{{Index: i % 3, Volume: "v", HostPath: volume, Path: path}})
		if err != nil {
			refused++
			continue
		}
		mounted++
		for _, leak := range []string{got[i%3], filepath.Join(got[i%3], "secret")} {
			if data, err := os.ReadFile(leak); err == nil && len(data) > 0 {
				t.Fatalf("%s shows %q", leak, data)
			}
		}
	}
	close(stop)
	swaps.Wait()
	if entries, err := os.ReadDir(filepath.Join(m.root, "outside")); err != nil || len(entries) != 1 {
		t.Errorf("something was made outside: %v (%v)", entries, err)
	}
	if mounted == 0 || refused == 0 {
		t.Errorf("%d tries were mounted and %d refused: the race was not hit", mounted, refused)
	}
	t.Logf("%d mounted, %d refused", mounted, refused)
}
