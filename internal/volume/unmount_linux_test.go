package volume

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
}

func mkdir(t *testing.T, elem ...string) string {
	t.Helper()
	dir := filepath.Join(elem...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, elem ...string) string {
	t.Helper()
	file := filepath.Join(elem...)
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func bind(t *testing.T, from, to string) {
	t.Helper()
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(to, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) })
}

func exists(t *testing.T, path string, want bool) {
	t.Helper()
	_, err := os.Lstat(path)
	if got := !errors.Is(err, fs.ErrNotExist); got != want {
		t.Errorf("%s exists: %v, want %v (%v)", path, got, want, err)
	}
}

func TestUnmountDeepestFirstAndNeverIntoAMount(t *testing.T) {
	needRoot(t)
	m := newManager(t, &fake{})
	outside := mkdir(t, m.root, "outside")
	precious := write(t, outside, "file")
	dir := mkdir(t, m.root, "pods/u")
	vol := mkdir(t, dir, "volumes/example.com~fake/v")
	bind(t, outside, vol)
	sub := mkdir(t, vol, "sub") // really in outside
	bind(t, outside, sub)
	subpath := write(t, mkdir(t, dir, "volume-subpaths/v/c"), "0")
	bind(t, precious, subpath) // a file on a file
	bind(t, outside, sub)      // stacked
	if err := m.Unmount(t.Context(), pod.Ref{UID: "u"}); err == nil || !strings.Contains(err.Error(), "something is mounted there") {
		// The fake removes without unmounting: it must be refused.
		t.Fatalf("a plugin deleted below a mount: %v", err)
	}
	exists(t, precious, true)

	m.plugins = nil
	if err := m.Unmount(t.Context(), pod.Ref{UID: "u"}); err != nil {
		t.Fatal(err)
	}
	exists(t, dir, false)
	exists(t, precious, true)
}

func TestHiddenMountsAreFound(t *testing.T) {
	needRoot(t)
	m := newManager(t)
	outside := mkdir(t, m.root, "outside")
	precious := write(t, outside, "file")
	vol := mkdir(t, m.root, "pods/u/volumes/x~y/v")
	inner := mkdir(t, vol, "inner")
	bind(t, outside, inner)
	bind(t, outside, vol) // now nobody can see inner
	if err := m.Unmount(t.Context(), pod.Ref{UID: "u"}); err != nil {
		t.Fatal(err)
	}
	exists(t, filepath.Join(m.root, "pods/u"), false)
	exists(t, precious, true)
}

func TestBusyMountKeepsEverything(t *testing.T) {
	needRoot(t)
	m := newManager(t)
	vol := mkdir(t, m.root, "pods/u/volumes/x~y/v")
	kept := write(t, mkdir(t, m.root, "pods/u/volumes/x~y/other"), "file")
	if err := unix.Mount("tmpfs", vol, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	inUse, err := os.Create(filepath.Join(vol, "open"))
	if err != nil {
		t.Fatal(err)
	}
	err = m.Unmount(t.Context(), pod.Ref{UID: "u"})
	if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), vol) {
		t.Errorf("err = %v, want busy and the place", err)
	}
	exists(t, kept, true)
	// It is of a type that nobody knows, and stays when nothing is mounted any more.
	if err := errors.Join(inUse.Close(), os.Remove(kept)); err != nil {
		t.Fatal(err)
	}
	if err := m.Unmount(t.Context(), pod.Ref{UID: "u"}); err != nil {
		t.Fatal(err)
	}
	exists(t, filepath.Join(m.root, "pods/u"), false)
}

func TestSymlinksAreNeverFollowed(t *testing.T) {
	m := newManager(t, &fake{})
	outside := mkdir(t, m.root, "outside")
	precious := write(t, outside, "file")
	for _, link := range []string{"pods/a/volumes", "pods/b/volumes/example.com~fake", "pods/c/volumes/example.com~fake/v", "pods/d/plugins"} {
		mkdir(t, m.root, filepath.Dir(link))
		if err := os.Symlink(outside, filepath.Join(m.root, link)); err != nil {
			t.Fatal(err)
		}
	}
	mkdir(t, outside, "example.com~fake/v")
	for _, uid := range []types.UID{"a", "b", "c", "d"} {
		if err := m.Unmount(t.Context(), pod.Ref{UID: uid}); err != nil {
			t.Errorf("pod %s: %v", uid, err)
		}
		exists(t, filepath.Join(m.root, "pods", string(uid)), false)
	}
	exists(t, precious, true)
	exists(t, filepath.Join(outside, "example.com~fake/v"), true)

	if err := os.Symlink(outside, filepath.Join(m.root, "pods/e")); err != nil {
		t.Fatal(err)
	}
	if err := m.Unmount(t.Context(), pod.Ref{UID: "e"}); err == nil {
		t.Error("a pod directory that is a symlink was accepted")
	}
	if uids, err := m.Pods(); err != nil || len(uids) != 0 {
		t.Errorf("pods = %v, %v: a symlink is none", uids, err)
	}
	mkdir(t, m.root, "pods/f/volumes/example.com~fake")
	if err := os.Symlink(outside, filepath.Join(m.root, "pods/f/volumes/example.com~fake/v")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Mount(t.Context(), testPod("f", empty("v"))); err == nil {
		t.Error("a volume directory that is a symlink was accepted")
	}
	exists(t, precious, true)
}

func TestRemoveTreeOfAnyDepth(t *testing.T) {
	top := t.TempDir()
	root, err := os.OpenRoot(top)
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Mkdir("tree", 0o755); err != nil {
		t.Fatal(err)
	}
	at, err := root.OpenRoot("tree")
	if err != nil {
		t.Fatal(err)
	}
	for range 2000 { // far beyond PATH_MAX
		if err := at.Mkdir("directory", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := at.WriteFile("file", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		next, err := at.OpenRoot("directory")
		if err != nil {
			t.Fatal(err)
		}
		at.Close()
		at = next
	}
	at.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := removeTree(ctx, top, "tree"); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
	if err := removeTree(t.Context(), top, "tree"); err != nil {
		t.Fatal(err)
	}
	exists(t, filepath.Join(top, "tree"), false)
	if err := removeTree(t.Context(), top, "tree"); err != nil {
		t.Errorf("already gone: %v", err)
	}
	if err := removeTree(t.Context(), filepath.Join(top, "no"), "tree"); err != nil {
		t.Errorf("parent gone: %v", err)
	}
}
