package http

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"nodeagent.dev/nodeagent/internal/probe/endpoint"
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// secure dials for https. Connections end with ctx; the context that the library gives
// is ignored, because it does not end with the request. Certificates are not verified:
// nobody tells a probe which one to expect.
func secure(ctx context.Context) dialFunc {
	return func(_ context.Context, _, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		raw, err := endpoint.Dial(ctx, address, 0)
		if err != nil {
			return nil, err
		}
		conn := tls.Client(raw, &tls.Config{
			ServerName:         host,
			NextProtos:         []string{"h2", "http/1.1"},
			InsecureSkipVerify: true, //nolint:gosec // see above; the kubelet does not verify either
		})
		if err := conn.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		if conn.ConnectionState().NegotiatedProtocol == "h2" {
			context.AfterFunc(ctx, func() { _ = raw.Close() })
			return conn, nil // the library has to see that it is TLS
		}
		return newTurn(ctx, conn, raw), nil
	}
}

// turn is a connection on which the target speaks when it was asked, not before:
// the library writes what comes too early to the standard logger, where targets
// must not write.
type turn struct {
	net.Conn
	asked chan struct{}
	once  sync.Once
	stop  func() bool
}

// newTurn returns a turn over c. The end of ctx closes raw, the connection below.
func newTurn(ctx context.Context, c, raw net.Conn) *turn {
	t := &turn{Conn: c, asked: make(chan struct{})}
	t.stop = context.AfterFunc(ctx, func() {
		t.ask()
		_ = raw.Close()
	})
	return t
}

func (t *turn) ask() { t.once.Do(func() { close(t.asked) }) }

// Read waits for the first Write.
func (t *turn) Read(b []byte) (int, error) {
	<-t.asked
	return t.Conn.Read(b)
}

// Write lets the target speak.
func (t *turn) Write(b []byte) (int, error) {
	t.ask()
	return t.Conn.Write(b)
}

// Close ends whoever waits in Read.
func (t *turn) Close() error {
	t.ask()
	defer t.stop() // nothing is left to close when the context ends
	return t.Conn.Close()
}
