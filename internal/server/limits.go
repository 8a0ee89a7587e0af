package server

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// lastWord is how long a client that was too slow has to read so.
const lastWord = 5 * time.Second

// limit bounds the time and the body of every request. Handlers of streams
// lift the deadlines themselves, once the request has been authorized.
//
// The request is copied: http.Server looks at the body of its own one when it
// decides whether the connection can be used again.
func limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		deadlines(w, time.Now().Add(headerTimeout))
		bounded := *r
		bounded.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, &bounded)
	})
}

// deadlines sets both deadlines of a request's connection (HTTP/2: stream).
// A writer that has none is one of a test.
func deadlines(w http.ResponseWriter, at time.Time) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(at)
	_ = rc.SetWriteDeadline(at.Add(lastWord))
}

// long lifts the deadlines of requests that take as long as they take.
func long(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.SetReadDeadline(time.Time{}) // HTTP/1 cancels the request when it passes
		_ = rc.SetWriteDeadline(time.Now().Add(streamStall))
		next.ServeHTTP(w, r)
	})
}

// take reserves one of a bounded number of things, or answers 429.
func take(w http.ResponseWriter, of chan struct{}, what string) (give func(), ok bool) {
	select {
	case of <- struct{}{}:
		return func() { <-of }, true
	default:
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusTooManyRequests, "too many "+what+" at the same time on this node, try again later")
		return nil, false
	}
}

// leave gives a place back. When a crowd has left, so is its memory: Go would
// keep most of it for minutes, as if the crowd came back.
func (s *Server) leave(give func()) {
	give()
	here := int64(len(s.followers) + len(s.streams))
	if n := s.left.Add(1); n >= crowd && here <= n/crowd && s.left.CompareAndSwap(n, 0) {
		time.AfterFunc(settle, debug.FreeOSMemory)
	}
}

// hijackable tells of the connection that a handler takes over.
type hijackable struct {
	http.ResponseWriter
	taken func(net.Conn)
}

// Hijack implements http.Hijacker.
func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err == nil {
		h.taken(conn)
	}
	return conn, rw, err
}

// Flush implements http.Flusher.
func (h hijackable) Flush() { _ = http.NewResponseController(h.ResponseWriter).Flush() }

// Unwrap lets http.ResponseController reach the writer below.
func (h hijackable) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// closing serves next and closes a connection that it took over when the
// request's context ends: http.Server forgets such connections.
func closing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stop := func() bool { return false }
		defer func() { stop() }()
		next.ServeHTTP(hijackable{w, func(conn net.Conn) {
			stop = context.AfterFunc(r.Context(), func() { _ = conn.Close() })
		}}, r)
	})
}

// doors counts the requests inside. http.Server does not wait for those that
// took their connection over.
type doors struct {
	mu     sync.RWMutex
	closed bool
}

// through lets requests in until the doors are shut.
func (d *doors) through(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.RLock()
		defer d.mu.RUnlock()
		if !d.closed {
			next.ServeHTTP(w, r)
		}
	})
}

// shut returns when nobody is inside any more.
func (d *doors) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}
