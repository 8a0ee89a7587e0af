package server

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestStrangersLockNobodyOut: the oldest of too many connections has to go, but
// none that somebody vouched for.
func TestStrangersLockNobodyOut(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Handlers.Profiling = false })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newStrangers(l, 3)
	srv := &http.Server{Handler: w.server.Handler(), ConnContext: remember, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(s) }()
	defer func() { _ = srv.Close(); <-done }()

	dial := func() net.Conn {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		return conn
	}
	ask := func(conn net.Conn) {
		t.Helper()
		if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 4096)); n == 0 {
			t.Fatal(err)
		}
	}
	friend := dial()
	ask(friend)
	var crowd []net.Conn
	for range 10 {
		crowd = append(crowd, dial())
	}
	for _, c := range crowd[:7] { // wait for their end
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("one of too many read %d bytes, %v", n, err)
		}
	}
	ask(friend)
	for _, c := range crowd[7:] {
		ask(c)
	}
	ask(dial())
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.all.Len(); n != 0 {
		t.Errorf("%d strangers are left though all were let in", n)
	}
}
