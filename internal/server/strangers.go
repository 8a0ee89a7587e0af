package server

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// strangers is a listener that bounds how many connections there are of which no
// request was let in yet. When there are too many the oldest is closed: whoever
// opens many connections loses them, and locks nobody out.
type strangers struct {
	net.Listener
	max int

	mu  sync.Mutex
	all *list.List // of *stranger, oldest first
}

// stranger is a connection nobody vouched for yet.
type stranger struct {
	net.Conn
	of *strangers
	at *list.Element // nil once it is none any more; guarded by of.mu
}

func newStrangers(l net.Listener, limit int) *strangers {
	return &strangers{Listener: l, max: limit, all: list.New()}
}

// Accept implements net.Listener.
func (s *strangers) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	one := &stranger{Conn: conn, of: s}
	if oldest := s.add(one); oldest != nil {
		_ = oldest.Close()
	}
	return one, nil
}

// add takes in a connection, and returns the one that has to go for it.
func (s *strangers) add(one *stranger) *stranger {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.at = s.all.PushBack(one)
	if s.all.Len() <= s.max {
		return nil
	}
	oldest, _ := s.all.Front().Value.(*stranger)
	return oldest
}

// leave ends being a stranger; once is enough.
func (c *stranger) leave() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if c.at != nil {
		c.of.all.Remove(c.at)
		c.at = nil
	}
}

// Close implements net.Conn.
func (c *stranger) Close() error {
	c.leave()
	return c.Conn.Close()
}

// connKey is where a request's context has its connection.
type connKey struct{}

// remember is http.Server's ConnContext.
func remember(ctx context.Context, conn net.Conn) context.Context {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	return context.WithValue(ctx, connKey{}, conn)
}

// letIn marks the connection of a request that the guard let pass, and gives the
// request more time.
func letIn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*stranger); ok {
			c.leave()
		}
		deadlines(w, time.Now().Add(requestTimeout))
		next.ServeHTTP(w, r)
	})
}
