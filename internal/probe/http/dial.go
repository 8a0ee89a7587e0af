package http

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"nodeagent.dev/nodeagent/internal/probe/endpoint"
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// plain dials for http. Connections end with ctx; the context that the library
// gives is ignored, because it does not end with the request.
func plain(ctx context.Context) dialFunc {
	return func(_ context.Context, _, address string) (net.Conn, error) {
		conn, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		return newTurn(ctx, conn), nil
	}
}

// secure dials for https, else as plain. Certificates are not verified: nobody
// tells a probe which one to expect.
func secure(ctx context.Context) dialFunc {
	return func(_ context.Context, _, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		raw, err := dial(ctx, address)
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
			return conn, nil // the library has to see that it is TLS
		}
		return newTurn(ctx, conn), nil
	}
}

// dial opens a connection that is closed when ctx ends.
func dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := endpoint.Dial(ctx, address, 0)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	return conn, nil
}

// turn is a connection on which the target speaks when it was asked, not before:
// the library writes what comes too early to the standard logger, where targets
// must not write.
type turn struct {
	net.Conn
	asked chan struct{}
	ask   func()
}

func newTurn(ctx context.Context, c net.Conn) *turn {
	asked := make(chan struct{})
	t := &turn{Conn: c, asked: asked, ask: sync.OnceFunc(func() { close(asked) })}
	context.AfterFunc(ctx, t.ask)
	return t
}

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
	return t.Conn.Close()
}
