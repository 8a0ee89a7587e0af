package podlogs

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/internal/pod"
)

// end is a container that ends when told to.
type end struct {
	over chan struct{}
	once sync.Once
}

func newEnd() *end { return &end{over: make(chan struct{})} }

func (e *end) now() { e.once.Do(func() { close(e.over) }) }

func (e *end) ended() (bool, <-chan struct{}) {
	select {
	case <-e.over:
		return true, nil
	default:
		return false, e.over
	}
}

// client is the other side of a follower: a channel of what arrives.
type client struct {
	got     chan string
	rest    string
	flushed chan struct{} // closed by the first flush
	once    sync.Once
}

func newClient() *client {
	return &client{got: make(chan string, 10_000), flushed: make(chan struct{})}
}

func (c *client) Write(p []byte) (int, error) { c.got <- string(p); return len(p), nil }
func (c *client) Flush() error                { c.once.Do(func() { close(c.flushed) }); return nil }

// expect waits for exactly this text.
func (c *client) expect(t *testing.T, want string) {
	t.Helper()
	for len(c.rest) < len(want) {
		select {
		case p := <-c.got:
			c.rest += p
		case <-time.After(time.Minute):
			t.Fatalf("got %q, want %q", c.rest, want)
		}
	}
	if c.rest[:len(want)] != want {
		t.Fatalf("got %q, want %q", c.rest, want)
	}
	c.rest = c.rest[len(want):]
}

func (c *client) expectNothing(t *testing.T) {
	t.Helper()
	if len(c.got) > 0 || c.rest != "" {
		t.Errorf("got %q%q, want nothing", c.rest, <-c.got)
	}
}

// running starts the reader's watcher until the test ends.
func running(t *testing.T, r *Reader) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// follow starts a follower; the returned function waits for its end.
func follow(ctx context.Context, r *Reader, w pod.LogWriter, path string, ended Ended, opts ...func(*pod.LogOptions)) func() error {
	o := pod.LogOptions{Follow: true, Stdout: true, Stderr: true}
	for _, set := range opts {
		set(&o)
	}
	done := make(chan error, 1)
	go func() { done <- r.Read(ctx, w, path, o, ended) }()
	return func() error { return <-done }
}

func add(t testing.TB, path, content string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteString(content)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestFollowUntilTheContainerEnds(t *testing.T) {
	r, path := place(t, entry("a"))
	running(t, r)
	c, e := newClient(), newEnd()
	wait := follow(t.Context(), r, c, path, e.ended)
	c.expect(t, "a\n")
	add(t, path, entry("b")+stamp+" stdout F to be") // not written at once
	c.expect(t, "b\n")
	add(t, path, " continued\n")
	c.expect(t, "to be continued\n")
	add(t, path, entry("last")+stamp+" stdout F cut")
	e.now()
	c.expect(t, "last\ncut")
	must(t, wait())
	c.expectNothing(t)
}

func TestFollowUntilTheClientGoes(t *testing.T) {
	r, path := place(t, "")
	running(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	c := newClient()
	wait := follow(ctx, r, c, path, nil)
	<-c.flushed
	add(t, path, entry("a"))
	c.expect(t, "a\n")
	cancel()
	if err := wait(); err != context.Canceled { //nolint:errorlint // exactly this
		t.Error(err)
	}
}

func TestFollowFromTheTailAndToALimit(t *testing.T) {
	r, path := place(t, entry("a")+entry("b"))
	running(t, r)
	none, one, limit := int64(0), int64(1), int64(5)
	c := newClient()
	wait := follow(t.Context(), r, c, path, nil, func(o *pod.LogOptions) { o.TailLines, o.LimitBytes = &one, &limit })
	c.expect(t, "b\n")
	tail := newClient()
	e := newEnd()
	waitTail := follow(t.Context(), r, tail, path, e.ended, func(o *pod.LogOptions) { o.TailLines = &none })
	<-tail.flushed
	eventually(t, "it has found its place", func() bool { return watches(r) == 2 })
	add(t, path, entry("c")+entry("defg"))
	c.expect(t, "c\nd")
	must(t, wait())
	tail.expect(t, "c\ndefg\n")
	e.now()
	must(t, waitTail())
}

// watches counts the followers that are subscribed.
func watches(r *Reader) int {
	r.watcher.mu.Lock()
	defer r.watcher.mu.Unlock()
	n := 0
	for _, dir := range r.watcher.dirs {
		n += len(dir.subs)
	}
	return n
}

func TestFollowTruncated(t *testing.T) {
	r, path := place(t, entry("a")+entry("b")+stamp+" stdout F half")
	running(t, r)
	c, e := newClient(), newEnd()
	wait := follow(t.Context(), r, c, path, e.ended)
	c.expect(t, "a\nb\n")
	must(t, os.Truncate(path, 0)) // by logrotate's copytruncate
	add(t, path, entry("c"))
	c.expect(t, "c\n")
	e.now()
	must(t, wait())
}

func TestFollowUntilTheLogIsRemoved(t *testing.T) {
	for name, remove := range map[string]func(pods, path string) error{
		"file":      func(_, path string) error { return os.Remove(path) },
		"directory": func(pods, _ string) error { return os.RemoveAll(filepath.Join(pods, "ns_web_uid-1")) },
	} {
		t.Run(name, func(t *testing.T) {
			r, path := place(t, entry("a"))
			running(t, r)
			c := newClient()
			wait := follow(t.Context(), r, c, path, func() (bool, <-chan struct{}) { return false, nil })
			c.expect(t, "a\n")
			add(t, path, entry("b"))
			must(t, remove(r.pods, path))
			must(t, wait())
			c.expect(t, "b\n")
			put(t, path, entry("another"))
			e := newEnd()
			wait = follow(t.Context(), r, c, path, e.ended)
			c.expect(t, "another\n")
			add(t, path, entry("one"))
			c.expect(t, "one\n")
			e.now()
			must(t, wait())
		})
	}
}

func TestASymlinkInPlaceOfTheNextFileIsRefused(t *testing.T) {
	r, path := place(t, entry("a"))
	running(t, r)
	secret := filepath.Join(t.TempDir(), "secret")
	put(t, secret, entry("secret"))
	c := newClient()
	wait := follow(t.Context(), r, c, path, nil)
	c.expect(t, "a\n")
	must(t, os.Rename(path, path+".20260101-000000"))
	must(t, os.Symlink(secret, path))
	if err := wait(); err == nil || !strings.Contains(err.Error(), ErrNotALog.Error()) {
		t.Error(err)
	}
	c.expectNothing(t)
}

// checker wants every number once and in order.
type checker struct {
	t     *testing.T
	held  []byte
	next  int
	gate  <-chan struct{} // what it waits for before it takes anything
	first chan struct{}   // closed when something arrives
	once  sync.Once
}

func (c *checker) Write(p []byte) (int, error) {
	c.once.Do(func() { close(c.first) })
	<-c.gate
	c.held = append(c.held, p...)
	for {
		line, rest, ok := bytes.Cut(c.held, []byte{'\n'})
		if !ok {
			return len(p), nil
		}
		if n, err := strconv.Atoi(string(line)); err != nil || n != c.next {
			c.t.Errorf("line %q, want %d", line, c.next)
			return 0, fmt.Errorf("wrong line")
		}
		c.next++
		c.held = rest
	}
}

func (c *checker) Flush() error { return nil }

func compress(t *testing.T, name string) {
	t.Helper()
	content, err := os.ReadFile(name)
	must(t, err)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err = z.Write(content)
	must(t, err)
	must(t, z.Close())
	put(t, name+".gz.tmp", b.String())
	must(t, os.Rename(name+".gz.tmp", name+".gz"))
	must(t, os.Remove(name))
}

// Rotation as the kubelet does it: the log is renamed, the runtime makes a new
// one, and when the next is due the one before is compressed. One follower is
// stuck from the first line until all is over.
func TestRotationUnderFire(t *testing.T) {
	const total, perFile, followers = 20_000, 400, 4
	r, path := place(t, entry("0"))
	running(t, r)
	e, open, gate := newEnd(), make(chan struct{}), make(chan struct{})
	close(open)
	var waits []func() error
	var all []*checker
	for i := range followers + 1 {
		c := &checker{t: t, gate: open, first: make(chan struct{})}
		if i == followers {
			c.gate = gate
		}
		all = append(all, c)
		waits = append(waits, follow(t.Context(), r, c, path, e.ended))
	}
	for _, c := range all {
		<-c.first // all have the first file
	}
	last := ""
	for n := 1; n < total; n++ {
		if n%perFile == 0 {
			if last != "" {
				compress(t, last)
			}
			last = fmt.Sprintf("%s.20260101-%06d", path, n/perFile)
			must(t, os.Rename(path, last))
		}
		add(t, path, entry(strconv.Itoa(n)))
	}
	e.now()
	close(gate)
	for i, wait := range waits {
		must(t, wait())
		if all[i].next != total {
			t.Errorf("follower %d saw %d lines, want %d", i, all[i].next, total)
		}
	}
}

// Between reading a file to its end and looking for the next one, lines may come
// and rotations happen.
func TestLinesThatComeJustBeforeARotation(t *testing.T) {
	r, path := place(t, entry("0"))
	dir, err := r.openDir(path)
	must(t, err)
	defer dir.close()
	src, err := dir.open(dir.live)
	must(t, err)
	gate := make(chan struct{})
	close(gate)
	c := &checker{t: t, gate: gate, first: make(chan struct{})}
	s := &reading{
		log: r.log, dir: dir, newLine: true, lines: -1,
		in: lineBuffer{pool: &r.input}, out: newOutput(c, &r.output, both()),
	}
	must(t, r.shelves.join(path, s, func() error { s.src = src; return nil }))
	defer s.close(&r.shelves, path)
	began := time.Now()
	must(t, s.pump(t.Context()))
	add(t, path, entry("1"))
	must(t, os.Rename(path, path+".20260101-000001"))
	add(t, path, entry("2"))
	must(t, os.Rename(path, path+".20260101-000002"))
	add(t, path, entry("3"))
	if where, err := s.advance(began, false); where != moved || err != nil || s.src != src {
		t.Fatalf("%v, %v; want the same file once more", where, err)
	}
	if where, err := s.drain(t.Context(), true); where != caughtUp || err != nil {
		t.Fatal(where, err)
	}
	must(t, s.out.flush())
	if c.next != 4 {
		t.Errorf("saw %d lines, want 4", c.next)
	}
}
