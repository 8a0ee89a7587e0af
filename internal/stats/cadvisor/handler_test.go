package cadvisor

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"nodeagent.dev/nodeagent/internal/stats"
)

func TestGzip(t *testing.T) {
	t.Parallel()
	h := newHandler(t, source{rows: rowsOf(3)})
	plain := get(t, h)
	for accept, zipped := range map[string]bool{
		"gzip": true, "br, GZIP;q=0.5": true, "identity, gzip; q=1.0": true, "": false, "identity": false, "gzip;q=0": false, "gzip;q=0.000": false, "deflate": false,
	} {
		// Twice: compressors and buffers are used again.
		for range 2 {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics/cadvisor", http.NoBody)
			r.Header.Set("Accept-Encoding", accept)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if got := w.Header().Get("Content-Encoding") == "gzip"; got != zipped {
				t.Errorf("%q: compressed: %v", accept, got)
				continue
			}
			body := io.Reader(w.Body)
			if zipped {
				z, err := gzip.NewReader(w.Body)
				if err != nil {
					t.Fatal(err)
				}
				body = z
			}
			content, err := io.ReadAll(body)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := len(parse(t, content)), len(parse(t, plain)); got != want {
				t.Errorf("%q: %d families, want %d", accept, got, want)
			}
		}
	}
}

// TestContentType: what the kubelet answers, except that the text is all there is.
func TestContentType(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]string{
		"":                         "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
		"*/*":                      "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
		"text/plain;version=0.0.4": "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3": "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
		"text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2":                                              "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
	} {
		if got := contentType(http.Header{"Accept": {accept}}); got != want {
			t.Errorf("%q: got %q", accept, got)
		}
	}
}

// broken takes some bytes and then no more.
type broken struct {
	header http.Header
	left   int
	writes int
}

func (b *broken) Header() http.Header { return b.header }
func (b *broken) WriteHeader(int)     {}
func (b *broken) Write(p []byte) (int, error) {
	b.writes++
	if b.left -= len(p); b.left < 0 {
		return 0, errors.New("gone")
	}
	return len(p), nil
}

func TestClientThatGoesAway(t *testing.T) {
	t.Parallel()
	h := newHandler(t, source{rows: rowsOf(50)})
	w := &broken{header: http.Header{}, left: 200 << 10}
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics/cadvisor", http.NoBody))
	if w.writes > 5 {
		t.Errorf("wrote %d times to a client that is gone", w.writes)
	}
	parse(t, get(t, h)) // the buffer that was left half full is used again
}

// slow is a source that answers when it is told to.
type slow struct {
	release      chan struct{}
	mu           sync.Mutex
	inside, most int
}

func (s *slow) Rows(ctx context.Context, _ stats.Need) ([]stats.Row, error) {
	s.mu.Lock()
	s.inside++
	s.most = max(s.most, s.inside)
	s.mu.Unlock()
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	s.mu.Lock()
	s.inside--
	s.mu.Unlock()
	return nil, ctx.Err()
}

func TestScrapesAtOnceAreBounded(t *testing.T) {
	t.Parallel()
	s := &slow{release: make(chan struct{})}
	h := newHandler(t, s)
	synctest.Test(t, func(t *testing.T) {
		s.release = make(chan struct{})
		h.places = make(chan struct{}, maxScrapes)
		var group sync.WaitGroup
		for range 3 * maxScrapes {
			group.Go(func() {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
			})
		}
		synctest.Wait()
		// One who gives up does not wait for a place.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody))
		close(s.release)
		group.Wait()
		if s.most != maxScrapes {
			t.Errorf("%d scrapes at once, want %d", s.most, maxScrapes)
		}
	})
}

// TestMountThatHangs: it is left out, and one goroutine waits for it.
func TestMountThatHangs(t *testing.T) {
	t.Parallel()
	h := newHandler(t, source{})
	synctest.Test(t, func(t *testing.T) {
		m := newMounts(h.cfg.Root, "/var/lib/kubelet")
		release := make(chan struct{})
		var mu sync.Mutex
		asked := 0
		m.statfs = func(path string, st *unix.Statfs_t) error {
			if path == "/dev/shm" {
				mu.Lock()
				asked++
				mu.Unlock()
				<-release
			}
			*st = unix.Statfs_t{Frsize: 1, Blocks: 5}
			return nil
		}
		for range 3 {
			begin := time.Now()
			if got := m.read(t.Context()); len(got) != 3 {
				t.Errorf("got %d file systems, want those three that answer", len(got))
			}
			if took := time.Since(begin); took > mountPatience {
				t.Errorf("took %s", took)
			}
		}
		mu.Lock()
		if asked != 1 {
			t.Errorf("%d goroutines wait for it", asked)
		}
		mu.Unlock()
		close(release)
		synctest.Wait()
		if got := m.read(t.Context()); len(got) != 4 {
			t.Errorf("it answers again: got %d file systems", len(got))
		}
	})
}

// TestOneReading: as long as the rows are the same, with their time, so is all that is
// beside them. Prometheus refuses another value at the same time.
func TestOneReading(t *testing.T) {
	t.Parallel()
	rows := rowsOf(1)
	h := newHandler(t, source{rows: rows})
	blocks := uint64(0)
	h.mounts.statfs = func(_ string, st *unix.Statfs_t) error {
		*st = unix.Statfs_t{Frsize: 1, Blocks: atomic.AddUint64(&blocks, 1)}
		return nil
	}
	sizes := func() string { return linesOf(string(get(t, h)), "container_fs_limit_bytes") }
	first := sizes()
	if got := sizes(); got != first {
		t.Errorf("got\n%sthen\n%s", first, got)
	}
	rows[0].At = rows[0].At.Add(time.Second)
	if got := sizes(); got == first || got == "" {
		t.Errorf("a new reading has old figures: %s", got)
	}
}

func TestMountThatFails(t *testing.T) {
	t.Parallel()
	h := newHandler(t, source{})
	h.mounts.statfs = func(string, *unix.Statfs_t) error { return syscall.ESTALE }
	if got := h.mounts.read(t.Context()); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	h.mounts.root = t.TempDir() // no /proc at all
	if got := h.mounts.read(t.Context()); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

// TestDecimals: the text stands for the float that a division gives.
func TestDecimals(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(0, 1<<53).Draw(t, "n")
		text := appendDecimal(nil, n, 9)
		got, err := strconv.ParseFloat(string(text), 64)
		if err != nil || got != float64(n)/1e9 {
			t.Fatalf("%d: %q is %v, %v", n, text, got, err)
		}
	})
	for n, want := range map[uint64]string{0: "0", 1: "0.000000001", 1e9: "1", 1500000000: "1.5", math.MaxUint64: "18446744073.709551615"} {
		if got := string(appendDecimal(nil, n, 9)); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

// BenchmarkPage is what writing the page of 500 pods costs, without reading cgroups.
func BenchmarkPage(b *testing.B) {
	h := newHandler(b, source{rows: rowsOf(500)})
	for name, accept := range map[string]string{"plain": "", "gzip": "gzip"} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics/cadvisor", http.NoBody)
			r.Header.Set("Accept-Encoding", accept)
			b.ReportAllocs()
			var out counter64
			begin := cpuTime(b)
			for b.Loop() {
				out.n = 0
				h.ServeHTTP(&out, r)
			}
			b.ReportMetric(float64(cpuTime(b)-begin)/1e6/float64(b.N), "cpu-ms/op")
			b.ReportMetric(float64(out.n)/1e6, "MB/op")
		})
	}
}

type counter64 struct {
	header http.Header
	n      int
}

func (c *counter64) Header() http.Header {
	if c.header == nil {
		c.header = http.Header{}
	}
	return c.header
}
func (c *counter64) WriteHeader(int) {}
func (c *counter64) Write(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}

func cpuTime(b *testing.B) int64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
