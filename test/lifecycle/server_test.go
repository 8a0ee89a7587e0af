//go:build e2e

package lifecycle

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// server answers probes and hooks on the node's loopback and keeps what they
// asked.
type server struct {
	t    *testing.T
	host string
	port int

	mu       sync.Mutex
	answer   map[string]func(n int, w http.ResponseWriter)
	requests map[string][]seenRequest
	changed  chan struct{} // closed at the next request
}

type seenRequest struct {
	*http.Request
	at time.Time
}

func newServer(t *testing.T, tls bool) *server {
	t.Helper()
	s := &server{
		t: t, answer: map[string]func(int, http.ResponseWriter){}, requests: map[string][]seenRequest{}, changed: make(chan struct{}),
	}
	start := httptest.NewServer
	if tls {
		start = httptest.NewTLSServer
	}
	web := start(http.HandlerFunc(s.serve))
	t.Cleanup(web.Close)
	host, port, err := net.SplitHostPort(web.Listener.Addr().String())
	must(t, "reading the server's address", err)
	s.host = host
	s.port, err = strconv.Atoi(port)
	must(t, "reading the server's port", err)
	return s
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests[r.URL.Path] = append(s.requests[r.URL.Path], seenRequest{r, time.Now()})
	n, answer := len(s.requests[r.URL.Path]), s.answer[r.URL.Path]
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	if answer == nil {
		http.NotFound(w, r)
		return
	}
	answer(n, w)
}

// on says how the nth request for a path is answered, beginning with 1.
func (s *server) on(path string, answer func(n int, w http.ResponseWriter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer[path] = answer
}

// code answers every request for a path in one way.
func (s *server) code(path string, code int) {
	s.on(path, func(_ int, w http.ResponseWriter) { w.WriteHeader(code) })
}

// get is the handler of a probe or hook that asks the server.
func (s *server) get(path string) corev1.ProbeHandler {
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Host: s.host, Port: port(s.port), Path: path}}
}

// asked waits until there were n requests for a path, and returns all.
func (s *server) asked(path string, n int) []seenRequest {
	s.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		s.mu.Lock()
		requests, changed := s.requests[path], s.changed
		s.mu.Unlock()
		if len(requests) >= n {
			return requests
		}
		select {
		case <-changed:
		case <-limit.C:
			s.t.Fatalf("%d requests for %s after %s, want %d", len(requests), path, patience, n)
		}
	}
}

// count returns how many requests for a path there were.
func (s *server) count(path string) int { return len(s.asked(path, 0)) }
