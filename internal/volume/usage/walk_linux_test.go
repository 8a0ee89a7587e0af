package usage

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, size int, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	must(t, os.WriteFile(name, make([]byte, size), 0o644))
	return name
}

// count walks a tree in slices of seven.
func count(t testing.TB, dir string, maxLinks int) Usage {
	t.Helper()
	w, err := begin(dir, maxLinks)
	must(t, err)
	for !w.slice(7) {
		open := 0
		for i := range w.path {
			if w.path[i].fd >= 0 {
				open++
			}
		}
		if open > maxOpen+1 {
			t.Fatalf("%d directories are open", open)
		}
	}
	return w.result()
}

// reference counts as the kubelet says it does: what is of the same device, once.
func reference(t testing.TB, dir string) (used, inodes int64) {
	t.Helper()
	seen := map[uint64]bool{}
	top, err := os.Lstat(dir)
	must(t, err)
	must(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		must(t, err)
		info, err := d.Info()
		must(t, err)
		st := info.Sys().(*syscall.Stat_t)
		if st.Dev == top.Sys().(*syscall.Stat_t).Dev && !seen[st.Ino] {
			seen[st.Ino] = true
			used += st.Blocks * 512
			inodes++
		}
		return nil
	}))
	return used, inodes
}

// grow fills a directory with all types of entries.
func grow(t testing.TB, dir string) {
	t.Helper()
	for i := range 40 {
		write(t, i*1000, dir, "d", fmt.Sprint(i%5), fmt.Sprint(i))
	}
	sparse := write(t, 1, dir, "sparse")
	must(t, os.Truncate(sparse, 1<<30))
	must(t, os.Link(sparse, filepath.Join(dir, "again")))
	must(t, os.Link(write(t, 5000, dir, "linked"), filepath.Join(dir, "d", "linked")))
	must(t, os.Symlink("/", filepath.Join(dir, "root")))
	must(t, os.Symlink("..", filepath.Join(dir, "d", "up")))
	must(t, os.Symlink(strings.Repeat("long/", 100), filepath.Join(dir, "long")))
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
}

func TestCountsAsTheKubelet(t *testing.T) {
	dir := t.TempDir()
	grow(t, dir)
	used, inodes := reference(t, dir)
	if got := count(t, dir, 100); got.Used != used || got.InodesUsed != inodes || got.Incomplete {
		t.Errorf("%+v, want %d bytes and %d inodes", got, used, inodes)
	}
}

func TestMountsAreNotCounted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir, other := t.TempDir(), t.TempDir()
	grow(t, dir)
	for _, d := range []string{"bind", "tmpfs"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	write(t, 0, dir, "file")
	large := write(t, 1<<20, other, "large")
	mount := func(source, target, fstype string, flags uintptr) {
		t.Helper()
		target = filepath.Join(dir, target)
		must(t, unix.Mount(source, target, fstype, flags, ""))
		t.Cleanup(func() { must(t, unix.Unmount(target, unix.MNT_DETACH)) })
	}
	before := count(t, dir, 100)
	mount(other, "bind", "", unix.MS_BIND)
	mount(large, "file", "", unix.MS_BIND)
	mount("tmpfs", "tmpfs", "tmpfs", 0)
	write(t, 1<<20, dir, "tmpfs", "large")
	after := count(t, dir, 100)
	var empty unix.Stat_t
	must(t, unix.Lstat(filepath.Join(other), &empty))
	// The two directories and the file lie below the mounts, and cannot be seen.
	want := before.Used - 2*empty.Blocks*512
	if after.Incomplete || after.InodesUsed != before.InodesUsed-3 || after.Used != want {
		t.Errorf("%+v with mounts, %+v without; want %d bytes", after, before, want)
	}
}

// nest makes directories in one another, deeper than a path can be, and returns the
// innermost, open.
func nest(t testing.TB, dir string, depth int) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	for range depth {
		must(t, unix.Mkdirat(fd, "directory", 0o755))
		next, err := unix.Openat(fd, "directory", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		// Something before and after it, so that there is a reason to come back.
		for _, name := range []string{"a", "z"} {
			file, err := unix.Openat(fd, name, unix.O_CREAT|unix.O_WRONLY, 0o644)
			must(t, err)
			_, err = unix.Write(file, make([]byte, 5000))
			must(t, err)
			must(t, unix.Close(file))
		}
		must(t, unix.Close(fd))
		fd = next
	}
	return fd
}

func TestDeepTree(t *testing.T) {
	const depth = 500
	dir := t.TempDir()
	must(t, unix.Close(nest(t, dir, depth)))
	got := count(t, dir, 100)
	if want := int64(3*depth + 1); got.InodesUsed != want || got.Used < 2*depth*5000 || got.Incomplete {
		t.Errorf("%+v, want %d inodes", got, want)
	}
}

// TestMovedWhileCounted moves directories under the walk, so that the way back leads
// to where it has never been.
func TestMovedWhileCounted(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, 1<<20, outside, "secret")
	must(t, unix.Close(nest(t, filepath.Join(dir), 3*maxOpen)))
	write(t, 5000, dir, "later")
	w, err := begin(dir, 100)
	must(t, err)
	for len(w.path) < 3*maxOpen {
		if w.slice(1) {
			t.Fatal("the walk has not come to the end of the tree")
		}
	}
	deep := filepath.Join(dir, strings.Repeat("directory/", maxOpen+5))
	must(t, os.Rename(deep, filepath.Join(outside, "moved")))
	for !w.slice(10) {
	}
	got := w.result()
	if !got.Incomplete || got.Used >= 1<<20+3*maxOpen*2*8192 {
		t.Errorf("%+v after a move", got)
	}
	used, inodes := reference(t, dir)
	if got.InodesUsed < 3*maxOpen || got.Used == 0 {
		t.Errorf("%+v, want something near %d bytes and %d inodes", got, used, inodes)
	}
}

// TestReplacedWhileCounted has a directory become a symlink between its being listed
// and being opened.
func TestReplacedWhileCounted(t *testing.T) {
	dir := t.TempDir()
	write(t, 1, dir, "a", "b")
	w, err := begin(dir, 100)
	must(t, err)
	must(t, os.RemoveAll(filepath.Join(dir, "a")))
	must(t, os.Symlink("/", filepath.Join(dir, "a")))
	w.enter(&w.path[0], "a")
	w.enter(&w.path[0], "..")
	w.enter(&w.path[0], "gone")
	if len(w.path) != 1 {
		t.Error("a symlink or the way up was followed")
	}
	w.close()
}

func TestHardLinksBeyondMemory(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 {
		name := write(t, 10_000, dir, fmt.Sprint(i))
		for j := range 6 {
			must(t, os.Link(name, fmt.Sprintf("%s-%d", name, j)))
		}
	}
	all, few := count(t, dir, 100), count(t, dir, 3)
	if all.InodesUsed != 21 || few.Used != all.Used || few.InodesUsed != all.InodesUsed {
		t.Errorf("%+v with memory, %+v without", all, few)
	}
}

// TestGrowingWhileCounted: a walk ends although the tree does not.
func TestGrowingWhileCounted(t *testing.T) {
	dir := t.TempDir()
	w, err := begin(dir, 100)
	must(t, err)
	w.left = 100
	for i := 0; !w.slice(1); i++ {
		write(t, 1, dir, fmt.Sprint("d", i), "f")
		if i > 1000 {
			t.Fatal("the walk does not end")
		}
	}
	if got := w.result(); got.InodesUsed > 102 || !got.Incomplete && got.InodesUsed > 100 {
		t.Errorf("%+v", got)
	}
	if len(w.path) > 0 {
		t.Error("something is left open")
	}
}

func TestNoTree(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	must(t, os.Symlink("/", link))
	for _, name := range []string{link, write(t, 1, dir, "file"), filepath.Join(dir, "missing")} {
		if _, err := begin(name, 1); err == nil {
			t.Errorf("%s is walked", name)
		}
	}
}

func BenchmarkWalk(b *testing.B) {
	dir := b.TempDir()
	for i := range 10_000 {
		write(b, 1, dir, fmt.Sprint(i%100), fmt.Sprint(i))
	}
	b.Run("meter", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w, err := begin(dir, 1000)
			must(b, err)
			for !w.slice(500) {
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_101, "ns/entry")
	})
	b.Run("as the kubelet", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			reference(b, dir)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_101, "ns/entry")
	})
}
