//go:build e2e

package registry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"nodeagent.dev/nodeagent/test/bed"
)

const (
	user, password = "puller", "right"

	// layerSize is the size of what is only in one image, in bytes; it does not
	// shrink.
	layerSize = 256 << 10
)

// faults are what a registry does to who pulls. The zero value is none.
type faults struct {
	private    bool          // asks for user and password
	status     int           // answers everything with it
	retryAfter string        // in that answer
	slow       int           // bytes per second of a blob
	cutAfter   int           // bytes of a blob, then the connection ends
	hold       chan struct{} // blobs begin when it is closed
	only       string        // spares paths that do not contain it
}

// faulty is a registry of one test.
type faulty struct {
	t    *testing.T
	bed  *bed.Bed
	host string
	good http.Handler

	mu      sync.Mutex
	faults  faults
	ids     map[string]string // of images by name
	seen    []request
	changed chan struct{} // closed at the next request
}

// request is one that somebody pulled with.
type request struct {
	at     time.Time
	method string
	path   string
	user   string
	status int
}

func (r request) blob() bool {
	return r.method == http.MethodGet && strings.Contains(r.path, "/blobs/")
}
func (r request) manifest() bool { return strings.Contains(r.path, "/manifests/") }

// newFaulty starts a registry that the bed's runtime can reach.
func newFaulty(t *testing.T, b *bed.Bed) *faulty {
	t.Helper()
	f := &faulty{t: t, bed: b, good: registry.New(), ids: map[string]string{}, changed: make(chan struct{})}
	server := httptest.NewServer(f)
	f.host = strings.TrimPrefix(server.URL, "http://")
	t.Cleanup(func() {
		f.set(faults{})
		server.CloseClientConnections()
		server.Close()
		if t.Failed() {
			f.tell()
		}
	})
	hosts := filepath.Join(b.Dir, "registries", f.host, "hosts.toml")
	must(t, "making the folder of a registry", os.MkdirAll(filepath.Dir(hosts), 0o700))
	text := fmt.Sprintf("server = '%[1]s'\n\n[host.'%[1]s']\ncapabilities = ['pull', 'resolve']\n", server.URL)
	must(t, "telling the runtime of a registry", os.WriteFile(hosts, []byte(text), 0o600))
	return f
}

// push puts a new image into the registry, whatever it does to others, and
// returns its name. The runtime has all of it but one layer.
func (f *faulty) push(path string) string {
	f.t.Helper()
	random := make([]byte, layerSize)
	_, _ = rand.Read(random) // never fails
	img, err := f.bed.SmallImage(map[string]string{"data-" + hex.EncodeToString(random[:4]): string(random)}, v1.Config{})
	must(f.t, "making an image", err)
	full := f.host + "/" + path
	ref, err := name.ParseReference(full, name.Insecure)
	must(f.t, "naming an image", err)
	// Past the faults: whoever pushes is not who is tested.
	inside := httptest.NewServer(f.good)
	defer inside.Close()
	direct := &http.Transport{Proxy: nil}
	defer direct.CloseIdleConnections()
	there, err := name.ParseReference(strings.TrimPrefix(inside.URL, "http://")+"/"+path, name.Insecure)
	must(f.t, "naming an image", err)
	must(f.t, "pushing "+ref.String(), remote.Write(there, img, remote.WithContext(f.t.Context()), remote.WithTransport(direct)))
	id, err := img.ConfigName()
	must(f.t, "identifying an image", err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids[full] = id.String()
	return full
}

// id is what the runtime calls an image that was pushed.
func (f *faulty) id(image string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ids[image]
}

// set replaces the faults. Blobs that were held go on.
func (f *faulty) set(now faults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h := f.faults.hold; h != nil && h != now.hold {
		close(h)
	}
	f.faults = now
}

// ServeHTTP implements http.Handler.
func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	now := f.faults
	f.mu.Unlock()
	if !strings.Contains(r.URL.Path, now.only) {
		now = faults{}
	}
	who, pass, _ := r.BasicAuth()
	note := &noting{ResponseWriter: w, faults: now, request: r}
	if strings.Contains(r.URL.Path, "/blobs/") {
		note.blob = r.Method == http.MethodGet
	}
	// Noted before it is answered: who has an answer finds its request.
	i := f.note(request{at: time.Now(), method: r.Method, path: r.URL.Path, user: who})
	defer func() { f.end(i, note.status) }()
	switch {
	case now.status != 0:
		if now.retryAfter != "" {
			note.Header().Set("Retry-After", now.retryAfter)
		}
		http.Error(note, "this registry was told to fail", now.status)
	case now.private && (who != user || pass != password):
		note.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(note, "who are you?", http.StatusUnauthorized)
	default:
		if note.blob && now.hold != nil {
			select {
			case <-now.hold:
			case <-r.Context().Done():
				return
			}
		}
		f.good.ServeHTTP(note, r)
	}
}

func (f *faulty) note(r request) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, r)
	close(f.changed)
	f.changed = make(chan struct{})
	return len(f.seen) - 1
}

func (f *faulty) end(i, status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen[i].status = status
}

// asked returns the requests so far that are such.
func (f *faulty) asked(such func(request) bool) (list []request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.seen {
		if such(r) {
			list = append(list, r)
		}
	}
	return list
}

// await waits for n such requests.
func (f *faulty) await(what string, n int, such func(request) bool) {
	f.t.Helper()
	f.awaitAll(fmt.Sprintf("%s %d times", what, n), func([]request) bool { return len(f.asked(such)) >= n })
}

// awaitAll waits until all requests together are enough.
func (f *faulty) awaitAll(what string, enough func(all []request) bool) {
	f.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		f.mu.Lock()
		changed := f.changed
		f.mu.Unlock()
		if enough(f.asked(everything)) {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			f.t.Fatalf("the registry was not asked for %s within %s", what, patience)
		}
	}
}

func (f *faulty) tell() {
	for _, r := range f.asked(func(request) bool { return true }) {
		f.t.Logf("registry %s: %s %s %s as %q: %d", f.host, r.at.Format("15:04:05.000"), r.method, r.path, r.user, r.status)
	}
}

// noting notes the status of an answer and spoils the body of a blob.
type noting struct {
	http.ResponseWriter
	request *http.Request
	faults  faults
	blob    bool
	status  int
	sent    int
}

// WriteHeader implements http.ResponseWriter.
func (n *noting) WriteHeader(status int) {
	n.status = status
	n.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (n *noting) Write(p []byte) (int, error) {
	if n.status == 0 {
		n.status = http.StatusOK
	}
	if !n.blob || n.faults.slow == 0 && n.faults.cutAfter == 0 {
		return n.ResponseWriter.Write(p) //nolint:wrapcheck // as it is
	}
	written := 0
	for len(p) > 0 {
		if n.faults.cutAfter > 0 && n.sent >= n.faults.cutAfter {
			panic(http.ErrAbortHandler) // ends the connection
		}
		step := min(len(p), 4<<10)
		m, err := n.ResponseWriter.Write(p[:step])
		written, n.sent, p = written+m, n.sent+m, p[m:]
		if err != nil {
			return written, err //nolint:wrapcheck // as it is
		}
		if err := n.pause(step); err != nil {
			return written, err
		}
	}
	return written, nil
}

// pause sends what there is, and waits as long as it would take.
func (n *noting) pause(bytes int) error {
	if f, ok := n.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
	if n.faults.slow == 0 {
		return nil
	}
	select {
	case <-time.After(time.Duration(bytes) * time.Second / time.Duration(n.faults.slow)):
		return nil
	case <-n.request.Context().Done():
		return context.Cause(n.request.Context())
	}
}
