package keeper

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// imageRegistry is the loopback registry of a bed with faults on demand.
type imageRegistry struct {
	handler http.Handler

	mu     sync.Mutex
	knobs  RegistryKnobs
	failed int
}

func newImageRegistry() *imageRegistry {
	return &imageRegistry{handler: registry.New()}
}

// serve answers on loopback until ctx ends.
func (r *imageRegistry) serve(ctx context.Context, port int) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("listen for the bed's registry: %w", err)
	}
	server := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener)                             //nolint:errcheck // ends with the keeper
	context.AfterFunc(ctx, func() { _ = server.Close() }) // ends Serve
	return nil
}

func (r *imageRegistry) set(knobs RegistryKnobs) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.knobs, r.failed = knobs, 0
}

// fails decides, and counts, whether a request is to fail.
func (r *imageRegistry) fails(req *http.Request) (RegistryKnobs, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.knobs
	reads := req.Method == http.MethodGet || req.Method == http.MethodHead
	if k.FailStatus == 0 || !reads || !strings.Contains(req.URL.Path, k.FailPath) || (k.FailTimes > 0 && r.failed >= k.FailTimes) {
		return k, false
	}
	r.failed++
	return k, true
}

// ServeHTTP implements http.Handler.
func (r *imageRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	knobs, fail := r.fails(req)
	if knobs.Delay > 0 {
		select {
		case <-time.After(knobs.Delay):
		case <-req.Context().Done():
			return
		}
	}
	if fail {
		http.Error(w, "this registry was told to fail", knobs.FailStatus)
		return
	}
	if knobs.Username != "" && !authorized(req, knobs) {
		w.Header().Set("WWW-Authenticate", `Basic realm="bed"`)
		http.Error(w, "authentication required", http.StatusUnauthorized)
		return
	}
	if knobs.BytesPerSecond > 0 && strings.Contains(req.URL.Path, "/blobs/") {
		w = &slowWriter{ResponseWriter: w, request: req, perSecond: knobs.BytesPerSecond}
	}
	r.handler.ServeHTTP(w, req)
}

func authorized(req *http.Request, knobs RegistryKnobs) bool {
	user, password, ok := req.BasicAuth()
	same := func(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
	return ok && same(user, knobs.Username) && same(password, knobs.Password)
}

// slowWriter sends a body at a bounded speed.
type slowWriter struct {
	http.ResponseWriter
	request   *http.Request
	perSecond int
}

func (w *slowWriter) Write(p []byte) (int, error) {
	step := max(1, w.perSecond/10)
	written := 0
	for len(p) > 0 {
		n, err := w.ResponseWriter.Write(p[:min(step, len(p))])
		written += n
		if err != nil {
			return written, fmt.Errorf("send slowly: %w", err)
		}
		p = p[n:]
		if f, ok := w.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-w.request.Context().Done():
			return written, fmt.Errorf("send slowly: %w", w.request.Context().Err())
		}
	}
	return written, nil
}
