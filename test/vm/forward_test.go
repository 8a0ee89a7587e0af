package vm

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestForward: both directions pass, the end of one is not the end of the other,
// and Close ends what is open.
func TestForward(t *testing.T) {
	var config net.ListenConfig
	target, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	go func() { // answers with what it was sent, once that has ended
		for {
			conn, err := target.Accept()
			if err != nil {
				return
			}
			got, _ := io.ReadAll(conn)
			_, _ = conn.Write(append([]byte("heard "), got...))
			_ = conn.Close()
		}
	}()
	f, err := forward(t.Context(), "127.0.0.1:0", target.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	dial := func() *net.TCPConn {
		var d net.Dialer
		conn, err := d.DialContext(t.Context(), "tcp", f.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		return conn.(*net.TCPConn)
	}
	conn := dial()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != "heard hello" {
		t.Errorf("the answer is %q, %v", answer, err)
	}
	_ = conn.Close()

	open := dial()
	if _, err := open.Write([]byte("still there")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if n, err := io.Copy(io.Discard, open); n > 0 || isTimeout(err) {
		t.Errorf("after Close a connection gave %d bytes, %v; want its end", n, err)
	}
	_ = open.Close()
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error) //nolint:errorlint // as it comes from net
	return ok && timeout.Timeout()
}
