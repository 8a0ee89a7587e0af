package http

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestTargetSpeaksInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		for _, c := range []struct {
			name string
			let  func(c net.Conn)
		}{
			{"asked", func(c net.Conn) { _, _ = io.WriteString(c, "?") }},
			{"closed", func(c net.Conn) { _ = c.Close() }},
			{"the probe is over", func(net.Conn) { cancel() }},
		} {
			target, raw := net.Pipe()
			go func() {
				_, _ = io.WriteString(target, "early")
				_ = target.Close()
			}()
			conn := newTurn(ctx, raw, raw)
			ended := false
			go func() {
				_, _ = conn.Read(make([]byte, 10))
				ended = true
			}()
			synctest.Wait()
			if ended {
				t.Errorf("%s: the target was heard before it was asked", c.name)
			}
			go c.let(conn)
			synctest.Wait()
			if !ended {
				t.Errorf("%s: the read goes on", c.name)
			}
			_ = conn.Close()
		}
	})
}

// The library takes such an answer for a mistake of its own and prints it.
func TestAnswerBeforeTheRequestWaits(t *testing.T) {
	t.Parallel()
	early := func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		untilGone(c)
	}
	for name, a := range map[string]*corev1.HTTPGetAction{
		"plain": talk(t, "http", early),
		"TLS":   talk(t, "https", overTLS(t, early)),
	} {
		for range 20 {
			if got := probe(t, a); got != success {
				t.Fatalf("%s: %+v", name, got)
			}
		}
	}
	port := talk(t, "https", overTLS(t, early)).Port.String()
	conn, err := secure(t.Context())(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := conn.(*turn); !ok {
		t.Errorf("over TLS a connection is a %T", conn)
	}
	_ = conn.Close()
}

// overTLS does a handshake, which chooses one of the protocols, before say.
func overTLS(t *testing.T, say func(net.Conn), protocols ...string) func(net.Conn) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	server.Close()
	return func(c net.Conn) {
		s := tls.Server(c, &tls.Config{Certificates: server.TLS.Certificates, NextProtos: protocols})
		if s.Handshake() == nil { // a client whose time is over does not finish it
			say(s)
		}
	}
}

// A request that ends while its connection is being made leaves it to nobody.
func TestConnectionsEndWithTheProbe(t *testing.T) {
	t.Parallel()
	accepted, proceed, shaken, gone := make(chan net.Conn, 1), make(chan struct{}), make(chan struct{}), make(chan struct{})
	a := talk(t, "https", func(c net.Conn) {
		accepted <- c
		<-proceed
		overTLS(t, func(c net.Conn) {
			close(shaken)
			untilGone(c)
			close(gone)
		}, "h2")(c)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reqCtx, cancelReq := context.WithCancel(t.Context())
	req, err := request(reqCtx, a, &corev1.Container{}, "127.0.0.1", agent)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		resp, err := transport(ctx).RoundTrip(req)
		if err == nil {
			err = resp.Body.Close()
		}
		ended <- err
	}()
	conn := <-accepted
	cancelReq()
	if err := <-ended; err == nil {
		t.Error("the request was answered")
	}
	close(proceed)
	select {
	case <-shaken:
	case <-time.After(patience):
		t.Fatal("no handshake")
	}
	cancel()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("the connection is open after the probe")
		_ = conn.Close()
	}
}
