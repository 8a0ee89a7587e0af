package podlogs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"nodeagent.dev/nodeagent/internal/podlogs/rotate"
)

// oneLog is a runtime with a container that writes.
type oneLog struct {
	path string
	mu   sync.Mutex
	out  *os.File
}

func (o *oneLog) LogPath(context.Context, string) (string, error) { return o.path, nil }

func (o *oneLog) ReopenContainerLog(context.Context, string) error {
	f, err := os.OpenFile(o.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.out != nil {
		err = o.out.Close()
	}
	o.out = f
	return err
}

func (o *oneLog) size(t *testing.T) int64 {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	info, err := o.out.Stat()
	must(t, err)
	return info.Size()
}

// A writer as fast as its follower, a rotator, and the watcher that they share: no
// line is missing or comes twice, and the disk holds no more than twice what is
// configured.
func TestFollowingWhatIsRotated(t *testing.T) {
	const size, files, total = 64 << 10, 3, 20_000
	r, path := place(t, "")
	running(t, r)
	o := &oneLog{path: path}
	must(t, o.ReopenContainerLog(t.Context(), ""))
	defer func() { _ = o.out.Close() }()
	rotator, err := rotate.New(rotate.Config{PodsDir: r.pods, MaxSize: size, MaxFiles: files, Workers: 1, MonitorInterval: 10 * time.Second},
		rotate.Deps{Runtime: o, Readers: r, Log: zaptest.NewLogger(t)})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- rotator.Run(ctx) }()
	rotator.Follow("uid-1", []string{"app"})
	e, c := newEnd(), &lastLine{}
	wait := follow(t.Context(), r, c, path, e.ended)
	text := strings.Repeat("x", 80)
	names := map[string]bool{}
	for n := int64(1); n <= total; n++ {
		o.mu.Lock()
		_, err := o.out.WriteString(entry(fmt.Sprintf("%08d %s", n, text)))
		o.mu.Unlock()
		must(t, err)
		for c.last.Load() == 0 && !c.bad.Load() { // what is rotated before it is there is not the follower's
			time.Sleep(time.Millisecond)
		}
		if n%100 != 0 {
			continue
		}
		for n-c.last.Load() > 500 && !c.bad.Load() { // about a file
			time.Sleep(time.Millisecond)
		}
		for o.size(t) > size+size/2 { // as slow as the machine is
			time.Sleep(time.Millisecond)
		}
		if sum := onDisk(t, filepath.Dir(path), names); sum > 2*size*files {
			t.Fatalf("%d bytes are on the disk", sum)
		}
	}
	e.now()
	must(t, wait())
	if c.last.Load() != total {
		t.Errorf("%d lines were seen", c.last.Load())
	}
	if len(names) < 5 {
		t.Errorf("there were no more files than %v", names)
	}
	cancel()
	must(t, <-ended)
}

// onDisk is the sum of all files.
func onDisk(t *testing.T, dir string, names map[string]bool) (sum int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		names[e.Name()] = true
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// BenchmarkIdle is what 500 logs cost while nobody writes to them: CPU time in a
// second, and memory.
func BenchmarkIdle(b *testing.B) {
	if testing.Short() {
		b.Skip("it measures time")
	}
	pods := b.TempDir()
	r := newReader(b, pods)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = r.Run(ctx) })
	paths := map[string]string{}
	var ids []string
	for i := range 500 {
		id := fmt.Sprint(i)
		paths[id] = filepath.Join(pods, "ns_web_uid-1", "c"+id, "0.log")
		put(b, paths[id], entry("a"))
		ids = append(ids, id)
	}
	rotator, err := rotate.New(rotate.Config{PodsDir: pods, MaxSize: 10 << 20, MaxFiles: 5, Workers: 1, MonitorInterval: 10 * time.Second},
		rotate.Deps{Runtime: manyLogs(paths), Readers: r, Log: zaptest.NewLogger(b)})
	if err != nil {
		b.Fatal(err)
	}
	group.Go(func() { _ = rotator.Run(ctx) })
	rotator.Follow("uid-1", ids)
	for watches(r) < len(ids) {
		time.Sleep(10 * time.Millisecond)
	}
	before := cpu(b)
	b.ResetTimer()
	for b.Loop() {
		time.Sleep(time.Second)
	}
	b.StopTimer()
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "µs-cpu/s")
	cancel()
	group.Wait()
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

type manyLogs map[string]string

func (m manyLogs) LogPath(_ context.Context, id string) (string, error) { return m[id], nil }
func (m manyLogs) ReopenContainerLog(context.Context, string) error     { return nil }
