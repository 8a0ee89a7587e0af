package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// forwarder passes connections to the node's address on to the machine. QEMU
// could listen there itself, but then connections would seem to come from the
// node's address, which in the machine is its own; from loopback they come from
// the host.
type forwarder struct {
	listener net.Listener
	target   string
	done     sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]bool // nil once it is closed
}

func forward(ctx context.Context, from, to string) (*forwarder, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", from)
	if err != nil {
		return nil, fmt.Errorf("listen on the node's address: %w", err)
	}
	f := &forwarder{listener: l, target: to, open: map[net.Conn]bool{}}
	f.done.Go(f.accept)
	return f, nil
}

func (f *forwarder) accept() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.done.Go(func() { f.pass(conn) })
	}
}

// pass passes on both directions until both have ended.
func (f *forwarder) pass(in net.Conn) {
	defer f.hold(in)()
	d := net.Dialer{Timeout: 10 * time.Second}
	out, err := d.DialContext(context.Background(), "tcp", f.target)
	if err != nil {
		return
	}
	defer f.hold(out)()
	var both sync.WaitGroup
	copyTo := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
			_ = half.CloseWrite()
			return
		}
		_ = to.Close()
	}
	both.Go(func() { copyTo(out, in) })
	both.Go(func() { copyTo(in, out) })
	both.Wait()
}

// hold lets Close end a connection; what it returns closes it.
func (f *forwarder) hold(conn net.Conn) func() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		_ = conn.Close()
		return func() {}
	}
	f.open[conn] = true
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.open, conn)
		_ = conn.Close()
	}
}

// Close ends the forwarder and every connection.
func (f *forwarder) Close() error {
	err := f.listener.Close()
	f.mu.Lock()
	for conn := range f.open {
		// The end of one side may have closed the other meanwhile.
		if closing := conn.Close(); !errors.Is(closing, net.ErrClosed) {
			err = errors.Join(err, closing)
		}
	}
	f.open = nil
	f.mu.Unlock()
	f.done.Wait()
	return err
}
