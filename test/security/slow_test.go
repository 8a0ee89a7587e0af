//go:build e2e

package security

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// headerTimeout is how long nodeagent waits for a handshake and for a header.
const headerTimeout = 10 * time.Second

// slow is a kind of client that takes its time.
type slow struct {
	name string
	// open connects and sends the beginning; drip goes on with a byte.
	open func(t *testing.T) (net.Conn, error)
	drip string
	// body tells that the header is complete.
	body bool
}

func (f *fixture) slowKinds() []slow {
	tcp := func(first string) func(t *testing.T) (net.Conn, error) {
		return func(t *testing.T) (net.Conn, error) {
			c, err := net.Dial("tcp", f.addr)
			if err == nil {
				_, err = io.WriteString(c, first)
			}
			return c, err
		}
	}
	secure := func(first string) func(t *testing.T) (net.Conn, error) {
		return func(t *testing.T) (net.Conn, error) {
			c := dial(t, f.addr, nil)
			_, err := io.WriteString(c, first)
			return c, err
		}
	}
	return []slow{
		{name: "a header that does not end", open: secure("GET /pods HTTP/1.1\r\nHost: x\r\nX: "), drip: "x"},
		{name: "a header that ends line by line", open: secure("GET /pods HTTP/1.1\r\nHost: x\r\n"), drip: "X: y\r\n"},
		{name: "nothing after the handshake", open: secure("")},
		{name: "nothing at all", open: tcp("")},
		{name: "a handshake that does not end", open: tcp("\x16\x03\x01\x40\x00\x01\x00\x3f\xfc"), drip: "\x03"},
		{name: "a body that does not end", open: secure("POST /pods HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"), drip: "x", body: true},
	}
}

// TestSlowClients keeps hundreds of them, and others are served meanwhile.
func TestSlowClients(t *testing.T) {
	f := cluster(t)
	before, err := f.measure(t.Context())
	must(t, "measuring the agent", err)
	const each = 150
	ctx, stop := context.WithCancel(t.Context())
	var dripping sync.WaitGroup
	defer dripping.Wait()
	defer stop()
	conns := map[string][]net.Conn{}
	opened := time.Now()
	for _, k := range f.slowKinds() {
		var all []net.Conn
		for range each {
			c, err := k.open(t)
			must(t, "opening a slow connection", err)
			defer c.Close()
			all = append(all, c)
		}
		conns[k.name] = all
		if k.drip != "" {
			dripping.Go(func() { drip(ctx, all, k.drip) })
		}
	}
	t.Logf("%d slow connections in %s", 6*each, time.Since(opened).Round(time.Millisecond))

	f.promptly(t)
	if f.nodeagent() {
		for _, k := range f.slowKinds() {
			if !k.body {
				endsSoon(t, k.name, conns[k.name])
			}
		}
	}
	stop()
	for _, all := range conns {
		for _, c := range all {
			_ = c.Close()
		}
	}
	if _, err := f.calm(t.Context(), before, time.Minute); err != nil {
		t.Error(err)
	}
}

// drip sends a little on each connection now and then.
func drip(ctx context.Context, all []net.Conn, what string) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, c := range all {
				_, _ = io.WriteString(c, what) // it may be closed by now
			}
		}
	}
}

// endsSoon waits until the server has closed all connections.
func endsSoon(t *testing.T, name string, all []net.Conn) {
	t.Helper()
	deadline := time.Now().Add(headerTimeout + 20*time.Second)
	for _, c := range all {
		_ = c.SetReadDeadline(deadline)
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is still open", name)
			return
		}
	}
}
