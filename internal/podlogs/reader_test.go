package podlogs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"nodeagent.dev/nodeagent/internal/pod"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buffer remembers what was written, and where it was flushed.
type buffer struct {
	bytes.Buffer
	flushed []int
	writes  int
}

func (b *buffer) Write(p []byte) (int, error) { b.writes++; return b.Buffer.Write(p) }
func (b *buffer) Flush() error                { b.flushed = append(b.flushed, b.Len()); return nil }

// broken fails where it is told to.
type broken struct{ write, flush error }

func (b broken) Write(p []byte) (int, error) { return len(p), b.write }
func (b broken) Flush() error                { return b.flush }

func newReader(t testing.TB, dir string) *Reader {
	t.Helper()
	r, err := NewReader(dir, zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// place is a pods directory with a log of the given content.
func place(t testing.TB, content string) (r *Reader, path string) {
	t.Helper()
	pods := t.TempDir()
	path = filepath.Join(pods, "ns_web_uid-1", "app", "0.log")
	put(t, path, content)
	return newReader(t, pods), path
}

func put(t testing.TB, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func both() pod.LogOptions { return pod.LogOptions{Stdout: true, Stderr: true} }

const stamp = "2026-01-02T03:04:05.678901234Z"

func entry(text string) string { return stamp + " stdout F " + text + "\n" }

func TestReadWritesInBatches(t *testing.T) {
	r, path := place(t, strings.Repeat(entry("a line"), 10_000))
	var out buffer
	must(t, r.Read(t.Context(), &out, path, both(), nil))
	if want := strings.Repeat("a line\n", 10_000); out.String() != want {
		t.Errorf("%d bytes, want %d", out.Len(), len(want))
	}
	if out.writes > 4 || len(out.flushed) != 1 || out.flushed[0] != out.Len() {
		t.Errorf("%d writes, flushed at %v of %d", out.writes, out.flushed, out.Len())
	}
}

func TestFollowFlushesBeforeThereIsData(t *testing.T) {
	r, path := place(t, "")
	opts := both()
	opts.Follow = true
	var out buffer
	must(t, r.Read(t.Context(), &out, path, opts, func() (bool, <-chan struct{}) {
		if len(out.flushed) == 0 {
			t.Error("not flushed before the first wait")
		}
		return true, nil
	}))
}

func TestOnlyRegularFilesBelowTheDirectoryAreRead(t *testing.T) {
	outside := t.TempDir()
	put(t, filepath.Join(outside, "app", "0.log"), entry("secret"))
	r, path := place(t, entry("fine"))
	pods, dir := r.pods, filepath.Dir(path)
	must(t, os.Symlink(filepath.Join(outside, "app", "0.log"), filepath.Join(dir, "link.log")))
	must(t, os.Symlink(path, filepath.Join(dir, "inside.log")))
	must(t, os.Symlink(filepath.Join(outside, "app"), filepath.Join(pods, "ns_web_uid-1", "linked")))
	must(t, os.Symlink(outside, filepath.Join(pods, "linked")))
	must(t, os.Mkdir(filepath.Join(dir, "dir.log"), 0o755))
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo.log"), 0o600))
	t.Chdir(dir)
	l, err := net.Listen("unix", "sock.log") // the path would be too long
	must(t, err)
	defer l.Close()
	refused := []string{
		dir + "/link.log", dir + "/inside.log", pods + "/ns_web_uid-1/linked/0.log", pods + "/linked/app/0.log",
		dir + "/dir.log", dir + "/fifo.log", dir + "/sock.log", path + "/0.log", dir, pods, "/", "", "0.log",
		outside + "/app/0.log", pods + "/../" + filepath.Base(pods) + "/ns_web_uid-1/app/0.log",
		pods + "/ns_web_uid-1/../ns_web_uid-1/app/0.log", pods + "//ns_web_uid-1/app/0.log",
		pods + "/ns_web_uid-1/app/..", pods + "x/ns_web_uid-1/app/0.log", path + "\x00", dir + "/0.log/x",
	}
	for _, follow := range []bool{false, true} {
		opts := both()
		opts.Follow = follow
		for _, bad := range refused {
			var out buffer
			err := r.Read(t.Context(), &out, bad, opts, nil)
			if !errors.Is(err, ErrNotALog) || out.Len() > 0 || len(out.flushed) > 0 {
				t.Errorf("%q: %v, wrote %q, flushed %v", bad, err, out.String(), out.flushed)
			}
		}
		for _, missing := range []string{dir + "/1.log", pods + "/x/app/0.log", pods + "/ns_web_uid-1/x/0.log"} {
			if err := r.Read(t.Context(), &buffer{}, missing, opts, nil); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%q: %v", missing, err)
			}
		}
	}
	if os.Geteuid() == 0 {
		must(t, unix.Mknod(filepath.Join(dir, "null.log"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		if err := r.Read(t.Context(), &buffer{}, dir+"/null.log", both(), nil); !errors.Is(err, ErrNotALog) {
			t.Errorf("a device: %v", err)
		}
	}
}

func TestTheDirectoryOfPodsMayBeASymlink(t *testing.T) {
	r, _ := place(t, entry("fine"))
	link := filepath.Join(t.TempDir(), "pods")
	must(t, os.Symlink(r.pods, link))
	var out buffer
	must(t, newReader(t, link+"/").Read(t.Context(), &out, link+"/ns_web_uid-1/app/0.log", both(), nil))
	if out.String() != "fine\n" {
		t.Errorf("read %q", out.String())
	}
	if _, err := NewReader("relative", zaptest.NewLogger(t)); err == nil {
		t.Error("a relative directory was accepted")
	}
}

func TestFormat(t *testing.T) {
	for _, tc := range []struct {
		name, content, want string
		err                 error
	}{
		{"nothing", "", "", nil},
		{"no line is in the format", "garbage\nmore\n", "", ErrFormat},
		{"garbage without an end may be a line that is being written", "2026-01-02T03:0", "", nil},
		{"lines after garbage are read", "\x00\x00\n" + entry("a"), "a\n", nil},
		{"the end of a line is missing", entry("a") + stamp + " stderr F b", "a\nb", nil},
		{"long garbage is passed over", strings.Repeat("x", 3*maxLine) + "\n" + entry("a"), "a\n", nil},
		{"long garbage without an end", strings.Repeat("x", 3*maxLine/2), "", nil},
		{"only long garbage", strings.Repeat("x", 3*maxLine) + "\n", "", ErrFormat},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, path := place(t, tc.content)
			for _, follow := range []bool{false, true} {
				opts := both()
				opts.Follow = follow
				var out buffer
				err := r.Read(t.Context(), &out, path, opts, func() (bool, <-chan struct{}) { return true, nil })
				if out.String() != tc.want || !errors.Is(err, tc.err) {
					t.Errorf("follow %v: %q, %v; want %q, %v", follow, out.String(), err, tc.want, tc.err)
				}
			}
		})
	}
}

func TestErrorsOfTheClientEndTheRead(t *testing.T) {
	r, path := place(t, entry("a"))
	gone := errors.New("client is gone")
	for _, follow := range []bool{false, true} {
		opts := both()
		opts.Follow = follow
		for _, w := range []broken{{write: gone}, {flush: gone}} {
			if err := r.Read(t.Context(), w, path, opts, nil); !errors.Is(err, gone) {
				t.Errorf("%+v: %v", w, err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Read(ctx, &buffer{}, path, opts, nil); err != context.Canceled { //nolint:errorlint // exactly this
			t.Errorf("canceled: %v", err)
		}
	}
}

func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

func TestAFileWithoutLinesCostsNoMemory(t *testing.T) {
	size := int64(1 << 30)
	if raceDetector() {
		size = 64 << 20 // it looks at each byte that the kernel writes
	}
	r, path := place(t, "")
	must(t, os.Truncate(path, size))
	tail := int64(10)
	for _, n := range []*int64{nil, &tail} {
		opts := both()
		opts.TailLines = n
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		var out buffer
		must(t, r.Read(t.Context(), &out, path, opts, nil))
		runtime.ReadMemStats(&after)
		got := after.TotalAlloc - before.TotalAlloc
		t.Logf("tail %v: %v, %d bytes allocated", n != nil, time.Since(began), got)
		if got > 4<<20 || out.Len() > 0 {
			t.Errorf("allocated %d bytes, wrote %d", got, out.Len())
		}
	}
}

func TestLongLinesArePassedOn(t *testing.T) {
	text := strings.Repeat("0123456789", maxLine/2)
	for _, tag := range []string{"F", "P"} {
		end := map[string]string{"F": "\n", "P": ""}[tag]
		r, path := place(t, fmt.Sprintf("%s stdout %s %s\n%s", stamp, tag, text, entry("next")))
		var out buffer
		must(t, r.Read(t.Context(), &out, path, both(), nil))
		if want := text + end + "next\n"; out.String() != want {
			t.Errorf("%s: %d bytes, want %d", tag, out.Len(), len(want))
		}
	}
}
