package podlogs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/podlogs/rotate"
)

// rotateOnce renames the log and writes the first line of the next.
func rotateOnce(t *testing.T, path string, n int) (rotated string) {
	t.Helper()
	rotated = fmt.Sprintf("%s.20260101-%06d", path, n)
	must(t, os.Rename(path, rotated))
	add(t, path, entry(strconv.Itoa(n)))
	return rotated
}

// unlink removes a rotated file as the rotator does.
func unlink(t *testing.T, r *Reader, path, name string) {
	t.Helper()
	at, zipped, _ := rotate.Parse(filepath.Base(path), filepath.Base(name))
	must(t, r.Unlink(path, rotate.Removal{
		At: at, Compressed: zipped,
		Open:   func() (*os.File, error) { return os.Open(name) },
		Remove: func() error { return os.Remove(name) },
	}))
}

// stuck starts followers that wait at the gate with the first line.
func stuck(t *testing.T, r *Reader, path string, e *end, gate chan struct{}, n int) ([]*checker, []func() error) {
	t.Helper()
	all, waits := make([]*checker, n), make([]func() error, n)
	for i := range all {
		all[i] = &checker{t: t, gate: gate, first: make(chan struct{})}
		waits[i] = follow(t.Context(), r, all[i], path, e.ended)
		<-all[i].first
	}
	return all, waits
}

// Files that are removed before a slow follower came to them stay readable for it,
// compressed ones too, and are let go when it has read them.
func TestSlowFollowersKeepWhatIsRemoved(t *testing.T) {
	r, path := place(t, entry("0"))
	running(t, r)
	gate, e := make(chan struct{}), newEnd()
	all, waits := stuck(t, r, path, e, gate, 2)
	var rotated []string
	for n := 1; n <= 6; n++ {
		rotated = append(rotated, rotateOnce(t, path, n))
	}
	compress(t, rotated[2])
	rotated[2] += ".gz"
	for _, name := range rotated[:5] { // lines 0 to 4
		unlink(t, r, path, name)
	}
	if got := r.Held(path); got < 5*int64(len(stamp)) {
		t.Errorf("%d bytes are held", got)
	}
	e.now()
	close(gate)
	for i, wait := range waits {
		must(t, wait())
		if all[i].next != 7 {
			t.Errorf("follower %d saw %d lines", i, all[i].next)
		}
	}
	if got := r.Held(path); got != 0 || len(r.shelves.byPath) != 0 {
		t.Errorf("%d bytes are held afterwards, %d shelves", got, len(r.shelves.byPath))
	}
}

func TestNothingIsKeptForThoseWhoHaveReadIt(t *testing.T) {
	r, path := place(t, entry("0"))
	running(t, r)
	c, e := newClient(), newEnd()
	wait := follow(t.Context(), r, c, path, e.ended)
	c.expect(t, "0\n")
	var rotated []string
	for n := 1; n <= 3; n++ {
		rotated = append(rotated, rotateOnce(t, path, n))
		c.expect(t, strconv.Itoa(n)+"\n")
	}
	eventually(t, "the follower has come to the log", func() bool { return r.Held(path) == 0 })
	for _, name := range rotated {
		unlink(t, r, path, name)
	}
	if got := r.Held(path); got != 0 {
		t.Errorf("%d bytes are held", got)
	}
	e.now()
	must(t, wait())
}

// Who is too far behind gets an error and a line that says so. The disk space is
// free at once, whatever the client does.
func TestFollowersThatAreCutOff(t *testing.T) {
	r, path := place(t, entry("0"))
	running(t, r)
	gate, e := make(chan struct{}), newEnd()
	c := &client{got: make(chan string, 100), flushed: make(chan struct{})}
	slow := &gated{client: c, gate: gate, first: make(chan struct{})}
	wait := follow(t.Context(), r, slow, path, e.ended)
	<-slow.first
	quick := newClient()
	waitQuick := follow(t.Context(), r, quick, path, e.ended)
	quick.expect(t, "0\n")
	var rotated []string
	for n := 1; n <= 3; n++ {
		rotated = append(rotated, rotateOnce(t, path, n))
		quick.expect(t, strconv.Itoa(n)+"\n")
	}
	eventually(t, "the other follower has come to the log", func() bool {
		unlinked := 0
		s := r.shelves.at(path)
		defer s.mu.Unlock()
		for reader := range s.readers {
			if reader.position("0.log") == "" {
				unlinked++
			}
		}
		return unlinked == 1
	})
	for _, name := range rotated {
		unlink(t, r, path, name)
	}
	before := r.Held(path)
	r.Cut(path, 1)
	if got := r.Held(path); before == 0 || got != 0 {
		t.Errorf("%d bytes were held, %d are", before, got)
	}
	close(gate)
	if err := wait(); !errors.Is(err, ErrFellBehind) {
		t.Errorf("the error is %v", err)
	}
	close(c.got)
	var got strings.Builder
	for p := range c.got {
		got.WriteString(p)
	}
	if lines := strings.SplitAfter(got.String(), "\n"); lines[0] != "0\n" || len(lines) != 3 || !strings.HasPrefix(lines[1], "nodeagent: the log goes on, but not here: ") {
		t.Errorf("the client got %q", lines)
	}
	add(t, path, entry("4"))
	quick.expect(t, "4\n")
	e.now()
	must(t, waitQuick())
}

// gated is a client that takes nothing before the gate is open.
type gated struct {
	*client
	gate  <-chan struct{}
	first chan struct{}
	begun atomic.Bool
}

func (g *gated) Write(p []byte) (int, error) {
	if g.begun.CompareAndSwap(false, true) {
		close(g.first)
	}
	<-g.gate
	return g.client.Write(p)
}

// numbered makes a log with n lines in each of its files: two compressed ones, a
// plain one, and the log itself.
func numbered(t *testing.T, n int) (r *Reader, path string) {
	t.Helper()
	r, path = place(t, "")
	from := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for i, end := range []string{".20260102-000100", ".20260102-000200", ".20260102-000200_001", ""} {
		var all strings.Builder
		for line := range n {
			all.WriteString(from.Add(time.Duration(i*n+line)*time.Second).Format(time.RFC3339Nano) + " stdout F " + strconv.Itoa(i*n+line) + "\n")
		}
		put(t, path+end, all.String())
		if i < 2 {
			compress(t, path+end)
		}
	}
	return r, path
}

func TestLinesOfRotatedFiles(t *testing.T) {
	const n = 1000
	r, path := numbered(t, n)
	put(t, path+".20260101-000000.gz", "this is no gzip")
	must(t, os.Symlink("/etc/passwd", path+".20260101-000001"))
	number := func(n int64) *int64 { return &n }
	for name, c := range map[string]struct {
		set   func(*pod.LogOptions)
		first int
	}{
		"plain":          {func(*pod.LogOptions) {}, 3 * n},
		"all lines":      {func(o *pod.LogOptions) { o.TailLines = number(-1) }, 3 * n},
		"some":           {func(o *pod.LogOptions) { o.TailLines = number(10) }, 4*n - 10},
		"of the log":     {func(o *pod.LogOptions) { o.TailLines = number(n) }, 3 * n},
		"one more":       {func(o *pod.LogOptions) { o.TailLines = number(n + 1) }, 3*n - 1},
		"of two files":   {func(o *pod.LogOptions) { o.TailLines = number(2 * n) }, 2 * n},
		"compressed":     {func(o *pod.LogOptions) { o.TailLines = number(2*n + 7) }, 2*n - 7},
		"twice":          {func(o *pod.LogOptions) { o.TailLines = number(3*n + 999) }, 1},
		"too many":       {func(o *pod.LogOptions) { o.TailLines = number(100 * n) }, 0},
		"since a while":  {func(o *pod.LogOptions) { o.Since = time.Date(2026, 1, 2, 1, 0, 0, 0, time.UTC) }, 3600},
		"since long ago": {func(o *pod.LogOptions) { o.Since = time.Date(2026, 1, 2, 0, 20, 0, 0, time.UTC) }, 1200},
		"since ever":     {func(o *pod.LogOptions) { o.Since = time.Date(2020, 1, 2, 0, 20, 0, 0, time.UTC) }, 0},
		"both": {func(o *pod.LogOptions) {
			o.Since, o.TailLines = time.Date(2026, 1, 2, 0, 20, 0, 0, time.UTC), number(n+5)
		}, 3*n - 5},
	} {
		t.Run(name, func(t *testing.T) {
			for _, following := range []bool{false, true} {
				opts := both()
				c.set(&opts)
				opts.Follow = following
				var out buffer
				must(t, r.Read(t.Context(), &out, path, opts, func() (bool, <-chan struct{}) { return true, nil }))
				next := c.first
				for line := range strings.Lines(out.String()) {
					if line != strconv.Itoa(next)+"\n" {
						t.Fatalf("follow=%v: got line %q, want %d", following, line, next)
					}
					next++
				}
				if next != 4*n {
					t.Errorf("follow=%v: the lines end before %d", following, next)
				}
			}
		})
	}
}

// Between its renaming and its reopening there is no log.
func TestReadWhileTheLogIsReopened(t *testing.T) {
	r, path := place(t, entry("0"))
	must(t, os.Rename(path, path+".20260101-000000"))
	done := make(chan error, 1)
	var out buffer
	go func() { done <- r.Read(t.Context(), &out, path, both(), nil) }()
	time.Sleep(3 * reopeningLook) // it looks meanwhile, or only afterwards
	put(t, path+".new", entry("1"))
	must(t, os.Rename(path+".new", path))
	must(t, <-done)
	if out.String() != "1\n" {
		t.Errorf("got %q", out.String())
	}
	must(t, os.RemoveAll(filepath.Dir(path)))
	must(t, os.Mkdir(filepath.Dir(path), 0o700))
	if err := r.Read(t.Context(), &out, path, both(), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a log that does not exist: %v", err)
	}
}

// lastLine checks numbered lines and says which came last.
type lastLine struct {
	held []byte
	last atomic.Int64
	bad  atomic.Bool
}

func (l *lastLine) Write(p []byte) (int, error) {
	l.held = append(l.held, p...)
	for {
		line, rest, ok := bytes.Cut(l.held, []byte{'\n'})
		if !ok {
			l.held = bytes.Clone(l.held)
			return len(p), nil
		}
		l.held = rest
		if n, err := strconv.ParseInt(string(line[:min(8, len(line))]), 10, 64); err != nil || !l.last.CompareAndSwap(n-1, n) {
			l.bad.Store(true)
			return 0, fmt.Errorf("line %q after %d", line, l.last.Load())
		}
	}
}

func (l *lastLine) Flush() error { return nil }
