package usage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running returns a meter that walks until the test ends.
func running(t *testing.T, cfg Config) *Meter {
	t.Helper()
	m := New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return m
}

// over is a context that has ended.
func over(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	grow(t, dir)
	used, inodes := reference(t, dir)
	m := running(t, Config{Share: 1})
	u, err := m.Usage(t.Context(), Volume{Dir: dir})
	must(t, err)
	var fs unix.Statfs_t
	must(t, unix.Statfs(dir, &fs))
	if u.Used != used || u.InodesUsed != inodes || u.Capacity != int64(fs.Blocks)*fs.Bsize || u.Inodes != int64(fs.Files) || u.Available == 0 {
		t.Errorf("%+v, want %d bytes and %d inodes", u, used, inodes)
	}
	if age := time.Since(u.At); age < 0 || age > time.Minute {
		t.Errorf("the age is %v", age)
	}
}

// TestKnownIsTold: what is known is told at once, and made anew only when it is old.
func TestKnownIsTold(t *testing.T) {
	dir := t.TempDir()
	m := running(t, Config{Share: 1, MaxAge: time.Hour})
	first, err := m.Usage(t.Context(), Volume{Dir: dir})
	must(t, err)
	write(t, 1, dir, "new")
	if again, err := m.Usage(over(t), Volume{Dir: dir}); err != nil || again.At != first.At || again.InodesUsed != 1 {
		t.Errorf("%+v, %v; want the figures of before", again, err)
	}
	m.mu.Lock()
	m.known[dir].last.At = first.At.Add(-2 * time.Hour) // it is old now
	m.mu.Unlock()
	for {
		u, err := m.Usage(over(t), Volume{Dir: dir})
		must(t, err)
		if u.InodesUsed == 2 {
			break
		}
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("an old count is not made anew")
		}
	}
}

func TestNobodyWaitsLongerThanHeWants(t *testing.T) {
	m := New(Config{}) // nobody walks
	if _, err := m.Usage(over(t), Volume{Dir: t.TempDir()}); !errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := m.Usage(t.Context(), Volume{Dir: filepath.Join(t.TempDir(), "missing")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	dir := t.TempDir()
	told := make(chan error)
	go func() {
		_, err := m.Usage(t.Context(), Volume{Dir: dir})
		told <- err
	}()
	for {
		m.Forget(dir)
		select {
		case err := <-told:
			if !errors.Is(err, ErrUnknown) {
				t.Errorf("%v", err)
			}
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// TestSmallVolumesDoNotWaitForLargeOnes has a large one that takes seconds.
func TestSmallVolumesDoNotWaitForLargeOnes(t *testing.T) {
	large, small := t.TempDir(), t.TempDir()
	for i := range 3000 {
		write(t, 0, large, fmt.Sprint(i))
	}
	m := running(t, Config{Share: 0.01, Slice: 5})
	if _, err := m.Usage(over(t), Volume{Dir: large}); !errors.Is(err, ErrUnknown) {
		t.Fatal(err)
	}
	if _, err := m.Usage(t.Context(), Volume{Dir: small}); err != nil {
		t.Error(err)
	}
	if _, err := m.Usage(over(t), Volume{Dir: large}); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v: the large one was first", err)
	}
}

// TestRunAgain: what one Run has left, the next one does.
func TestRunAgain(t *testing.T) {
	dir := t.TempDir()
	write(t, 1, dir, "f")
	m := New(Config{Share: 1, Slice: 1})
	m.Run(over(t))
	_, _ = m.Usage(over(t), Volume{Dir: dir})
	m.Run(over(t))
	before := openFiles(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	u, err := m.Usage(t.Context(), Volume{Dir: dir})
	cancel()
	<-done
	if err != nil || u.InodesUsed != 2 {
		t.Errorf("%+v, %v", u, err)
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d files are open, %d before", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

func TestPause(t *testing.T) {
	for _, c := range []struct {
		share      float64
		took, want time.Duration
	}{
		{1, time.Second, 0}, {0.5, time.Millisecond, time.Millisecond}, {0.1, time.Millisecond, 9 * time.Millisecond}, {0.01, time.Hour, maxPause},
	} {
		if got := (Config{Share: c.share}).pause(c.took); (got - c.want).Abs() > time.Microsecond {
			t.Errorf("%v after %v at %v, want %v", got, c.took, c.share, c.want)
		}
	}
}

// TestIncompleteDoesNotShrink: a pod cannot make its volume look smaller.
func TestIncompleteDoesNotShrink(t *testing.T) {
	m := New(Config{})
	k := &known{ready: make(chan struct{})}
	for _, c := range []struct {
		u    Usage
		want int64
	}{
		{Usage{Used: 100, InodesUsed: 100}, 100},
		{Usage{Used: 50, InodesUsed: 50, Incomplete: true}, 100},
		{Usage{Used: 150, InodesUsed: 150, Incomplete: true}, 150},
		{Usage{Used: 20, InodesUsed: 20}, 20},
	} {
		m.publish(k, c.u, nil)
		if k.last.Used != c.want || k.last.InodesUsed != c.want {
			t.Errorf("%+v after %+v", k.last, c.u)
		}
	}
	m.publish(k, Usage{}, errors.New("x"))
	if k.last.Used != 20 || k.err != nil {
		t.Errorf("%+v, %v after an error", k.last, k.err)
	}
}

func TestOwnFileSystem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8M,nr_inodes=100"))
	defer func() { must(t, unix.Unmount(dir, 0)) }()
	write(t, 1<<20, dir, "f")
	m := New(Config{}) // nobody walks
	for _, kind := range []Kind{Tree, FileSystem} {
		u, err := m.Usage(t.Context(), Volume{Dir: dir, Kind: kind})
		u.At = time.Time{}
		want := Usage{Used: 1 << 20, Available: 7 << 20, Capacity: 8 << 20, Inodes: 100, InodesFree: 98, InodesUsed: 2}
		if err != nil || u != want {
			t.Errorf("%+v, %v; want %+v", u, err, want)
		}
	}
	// A directory in it is none of its own.
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
	if _, err := m.Usage(over(t), Volume{Dir: filepath.Join(dir, "d")}); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
}

// TestProjectQuota has an ext4 that counts projects.
func TestProjectQuota(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 64<<20))
	for _, command := range [][]string{
		{"mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota", image},
		{"mount", "-o", "loop,prjquota", image, dir},
	} {
		if out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no project quotas here: %v: %s", err, out)
		}
	}
	defer func() { must(t, unix.Unmount(dir, 0)) }()
	volume := filepath.Join(dir, "volume")
	must(t, os.MkdirAll(volume, 0o755))
	setProject(t, volume, 4711)
	write(t, 1<<20, volume, "d", "f")
	m := New(Config{}) // nobody walks
	u, err := m.Usage(t.Context(), Volume{Dir: volume, Confined: true})
	if err != nil || u.Used < 1<<20 || u.Used > 1<<20+16<<10 || u.InodesUsed != 3 {
		t.Errorf("%+v, %v; want 1 MiB in 3 inodes", u, err)
	}
	for name, v := range map[string]Volume{
		"of a pod that could leave its project": {Dir: volume},
		"that shares its project":               {Dir: filepath.Join(volume, "d"), Confined: true},
		"without a project":                     {Dir: dir, Confined: true},
	} {
		if _, err := m.Usage(over(t), v); !errors.Is(err, ErrUnknown) {
			t.Errorf("a volume %s: %v, want it walked", name, err)
		}
	}
}

func setProject(t *testing.T, dir string, id uint32) {
	t.Helper()
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	const fsIocFssetxattr = 0x401c5820
	x := fsxattr{flags: fsXflagProjinherit, project: id}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIocFssetxattr, uintptr(unsafe.Pointer(&x))); errno != 0 {
		t.Fatal(errno)
	}
}
