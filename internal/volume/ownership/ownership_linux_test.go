package ownership

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const group = 4711

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("giving files away needs root")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func options(more ...func(*Options)) Options {
	g := int64(group)
	o := Options{Group: &g}
	for _, f := range more {
		f(&o)
	}
	return o
}

func onRootMismatch(o *Options) {
	policy := corev1.FSGroupChangeOnRootMismatch
	o.Policy = &policy
}

func readOnly(o *Options) { o.ReadOnly = true }

func apply(t *testing.T, dir string, o Options) Result {
	t.Helper()
	r, err := Apply(t.Context(), dir, o)
	must(t, err)
	return r
}

type entry struct {
	gid  uint32
	mode uint32
}

// look returns what is there, symlinks as themselves.
func look(t *testing.T, path string) entry {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return entry{st.Gid, st.Mode & permissions}
}

func write(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	must(t, os.WriteFile(path, []byte("x"), 0o600))
	must(t, os.Chmod(path, mode))
}

func TestModes(t *testing.T) {
	needRoot(t)
	for name, c := range map[string]struct {
		opts Options
		want map[string]uint32
	}{
		"for writing": {options(), map[string]uint32{
			".": 0o2770, "dir": 0o2775, "file": 0o660, "script": 0o775, "suid": 0o6770, "closed": 0o660, "fifo": 0o660, "socket": 0o770, "device": 0o660, "sticky": 0o3777,
		}},
		"for reading": {options(readOnly), map[string]uint32{
			".": 0o2750, "dir": 0o2755, "file": 0o640, "script": 0o755, "suid": 0o6750, "closed": 0o440, "fifo": 0o640, "socket": 0o750, "device": 0o640, "sticky": 0o3777,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Chmod(dir, 0o700))
			at := func(name string) string { return filepath.Join(dir, name) }
			must(t, os.Mkdir(at("dir"), 0o755))
			must(t, os.Mkdir(at("sticky"), 0o755))
			must(t, unix.Chmod(at("sticky"), 0o1777))
			write(t, at("file"), 0o600)
			write(t, at("script"), 0o755)
			write(t, at("suid"), 0o700)
			must(t, unix.Chmod(at("suid"), 0o6710))
			write(t, at("closed"), 0)
			must(t, unix.Mkfifo(at("fifo"), 0o600))
			must(t, unix.Mknod(at("socket"), unix.S_IFSOCK|0o755, 0))
			must(t, unix.Chmod(at("socket"), 0o710))
			must(t, unix.Mknod(at("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
			must(t, os.Symlink("nowhere", at("link")))

			r := apply(t, dir, c.opts)
			if r.Files != int64(len(c.want))+1 || r.Refused != 0 || r.Skipped {
				t.Errorf("result %+v", r)
			}
			for file, want := range c.want {
				if got := look(t, at(file)); got != (entry{group, want}) {
					t.Errorf("%s: group %d, mode %o; want %d, %o", file, got.gid, got.mode, group, want)
				}
			}
			if got := look(t, at("link")); got.gid != group {
				t.Errorf("the link's group is %d", got.gid)
			}
		})
	}
}

func TestNoGroup(t *testing.T) {
	if r := apply(t, "/no/such/directory", Options{}); !r.Skipped || r.Files != 0 {
		t.Errorf("%+v", r)
	}
	for _, g := range []int64{-1, 1 << 32, 1<<32 - 1} {
		if _, err := Apply(t.Context(), t.TempDir(), Options{Group: &g}); err == nil || !strings.Contains(err.Error(), "not a group ID") {
			t.Errorf("%d: %v", g, err)
		}
	}
}

func TestOnRootMismatch(t *testing.T) {
	needRoot(t)
	for name, c := range map[string]struct {
		gid  int
		mode uint32
		opts Options
		skip bool
	}{
		"the same":                        {group, 0o2770, options(onRootMismatch), true},
		"more than needed":                {group, 0o2777, options(onRootMismatch), true},
		"another group":                   {group + 1, 0o2770, options(onRootMismatch), false},
		"no setgid":                       {group, 0o770, options(onRootMismatch), false},
		"the group may not write":         {group, 0o2750, options(onRootMismatch), false},
		"the owner may not write":         {group, 0o2570, options(onRootMismatch), false},
		"the group may not enter":         {group, 0o2760, options(onRootMismatch), false},
		"reading is enough":               {group, 0o2550, options(onRootMismatch, readOnly), true},
		"reading is enough, but not that": {group, 0o2510, options(onRootMismatch, readOnly), false},
		"always":                          {group, 0o2770, options(), false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "file"), 0o600)
			must(t, os.Chown(dir, 0, c.gid))
			must(t, unix.Chmod(dir, c.mode))
			r := apply(t, dir, c.opts)
			changed := look(t, filepath.Join(dir, "file")).gid == group
			if r.Skipped != c.skip || changed == c.skip {
				t.Errorf("%+v, changed: %v; want skipped: %v", r, changed, c.skip)
			}
			if again := apply(t, dir, options(onRootMismatch, func(o *Options) { o.ReadOnly = c.opts.ReadOnly })); !again.Skipped {
				t.Errorf("after it, the root does not match: %o", look(t, dir).mode)
			}
		})
	}
}

// What ends early must not look like done.
func TestTheRootComesLast(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for i := range 50 {
		must(t, os.Mkdir(filepath.Join(dir, fmt.Sprint(i)), 0o700))
		write(t, filepath.Join(dir, fmt.Sprint(i), "f"), 0o600)
	}
	before := look(t, dir)
	ctx := &endingContext{Context: t.Context()}
	ctx.left.Store(60)
	r, err := Apply(ctx, dir, options())
	if !errors.Is(err, context.Canceled) || r.Files == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if after := look(t, dir); after != before {
		t.Errorf("the root is %+v, was %+v", after, before)
	}
	if r := apply(t, dir, options(onRootMismatch)); r.Skipped || r.Files != 101 {
		t.Errorf("the next time: %+v", r)
	}
}

// endingContext ends after it has been asked some times.
type endingContext struct {
	context.Context //nolint:containedctx // it is one

	left atomic.Int64
}

func (c *endingContext) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// What is right already is not touched.
func TestNothingIsChangedTwice(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for i := range 5 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), 0o600)
	}
	apply(t, dir, options())
	times := func() (list []byte) {
		must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			var st unix.Stat_t
			must(t, errors.Join(err, unix.Lstat(path, &st)))
			list = fmt.Appendln(list, path, st.Ctim)
			return nil
		}))
		return list
	}
	before := times()
	apply(t, dir, options())
	if after := times(); !bytes.Equal(before, after) {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

// The kubelet logs what a file system refuses, and goes on.
func TestRefusals(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f"), 0o600)
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Skip("mounting is not allowed here: ", err)
	}
	defer func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) }()
	must(t, unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	r := apply(t, dir, options())
	if r.Files != 2 || r.Refused != 4 || !errors.Is(r.Refusal, syscall.EROFS) || !strings.Contains(r.Refusal.Error(), filepath.Join(dir, "f")) {
		t.Errorf("%+v", r)
	}
}

func TestFailures(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f"), 0o600)
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	for _, name := range []string{"missing", "f", "fifo"} {
		if _, err := Apply(t.Context(), filepath.Join(dir, name), options()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Apply(ctx, dir, options()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		var files atomic.Int64
		start := time.Now()
		stop := watch(Options{Name: "uid/volumes/x", Tell: func(m string) { said = append(said, fmt.Sprint(time.Since(start), " ", m)) }}, "/dir", files.Load)
		time.Sleep(89 * time.Second)
		files.Store(77)
		time.Sleep(65 * time.Second)
		stop()
		time.Sleep(time.Hour)
		want := []string{
			"30s Setting volume ownership for uid/volumes/x is taking longer than expected, consider using OnRootMismatch - https://kubernetes.io/docs/tasks/configure-pod-container/security-context/#configure-volume-permission-and-ownership-change-policy-for-pods",
			"1m30s Setting volume ownership for uid/volumes/x, processed 77 files.",
			"2m30s Setting volume ownership for uid/volumes/x, processed 77 files.",
		}
		if strings.Join(said, "\n") != strings.Join(want, "\n") {
			t.Errorf("said:\n%s", strings.Join(said, "\n"))
		}
	})
}

func BenchmarkApply(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("giving files away needs root")
	}
	dir := b.TempDir()
	const files = 10000
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		changes int64
	}{{"changing", 2}, {"settled", 1}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := int64(0); b.Loop(); i++ {
				g := group + i%c.changes
				if _, err := Apply(b.Context(), dir, Options{Group: &g}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/files, "ns/file")
		})
	}
}
