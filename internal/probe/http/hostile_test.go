package http

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/probe/answer"
)

// short is the timeout of probes that are not answered.
const short = 300 * time.Millisecond

// talk accepts connections and lets say speak on each, until the test ends. The
// returned action asks there. Connections end with the test or by the client;
// say has to end then.
func talk(t *testing.T, scheme string, say func(net.Conn)) *corev1.HTTPGetAction {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			say(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return asks(t, scheme+"://"+l.Addr().String())("/")
}

// untilGone reads until the client has hung up.
func untilGone(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// forEver says the same again until the client has hung up. Each connection is
// read from as well, so that its end is not a reset before the answer is read.
func forEver(first, again string, pause time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		read := make(chan struct{})
		go func() {
			defer close(read)
			untilGone(c)
		}()
		_, err := io.WriteString(c, first)
		for err == nil {
			if pause > 0 {
				time.Sleep(pause)
			}
			_, err = io.WriteString(c, again)
		}
		<-read
	}
}

func TestServersThatDoNotAnswerInTime(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]*corev1.HTTPGetAction{
		"silent":                 talk(t, "http", untilGone),
		"no handshake":           talk(t, "https", untilGone),
		"a status line for ever": talk(t, "http", forEver("HTTP/1.1 200 ", "x", 10*time.Millisecond)),
		"headers for ever":       talk(t, "http", forEver("HTTP/1.1 200 OK\r\n", "A: b\r\n", 10*time.Millisecond)),
		"silent over HTTP/2":     talk(t, "https", overTLS(t, untilGone, "h2")),
		"interim answers":        talk(t, "http", forEver("", "HTTP/1.1 103 Early Hints\r\n\r\n", 10*time.Millisecond)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Probe(t.Context(), a, &corev1.Container{}, "127.0.0.1", agent, short)
			if err != nil || got.Result != answer.Failure {
				t.Fatalf("%+v, %v; want a failure", got, err)
			}
			if name != "interim answers" && !strings.Contains(got.Output, "Client.Timeout exceeded while awaiting headers") {
				t.Errorf("output %q", got.Output)
			}
		})
	}
}

func TestFloodsAreLimited(t *testing.T) {
	t.Parallel()
	header := "X-Flood: " + strings.Repeat("x", 4000) + "\r\n"
	for name, c := range map[string]struct {
		a    *corev1.HTTPGetAction
		want string
	}{
		"headers":   {talk(t, "http", forEver("HTTP/1.1 200 OK\r\n", header, 0)), "server response headers exceeded 262144 bytes"},
		"one line":  {talk(t, "http", forEver("HTTP/1.1 200 ", header[:4000], 0)), "server response headers exceeded 262144 bytes"},
		"not HTTP":  {talk(t, "http", forEver("", "SSH-2.0 hello\r\n", 0)), "malformed HTTP"},
		"not TLS":   {talk(t, "https", forEver("HTTP/1.0 400 no\r\n\r\n", "no", 0)), "server gave HTTP response to HTTPS client"},
		"not a TLS": {talk(t, "https", forEver("", "rubbish", 0)), "tls: first record does not look like a TLS handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Probe(t.Context(), c.a, &corev1.Container{}, "127.0.0.1", agent, patience)
			if err != nil || got.Result != answer.Failure || !strings.Contains(got.Output, c.want) {
				t.Errorf("%+v, %v; want a failure with %q", got, err, c.want)
			}
			if len(got.Output) > answer.MaxOutput {
				t.Errorf("%d bytes of output", len(got.Output))
			}
		})
	}
}

// endless answers with a body that does not end before the client hangs up.
func endless(code int, chunk string, pause time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if code == http.StatusFound {
			w.Header().Set("Location", "http://elsewhere.example/")
		}
		w.WriteHeader(code)
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			if pause > 0 {
				select {
				case <-time.After(pause):
				case <-r.Context().Done():
				}
			}
		}
	}
}

func TestBodiesAreReadInPart(t *testing.T) {
	t.Parallel()
	much := strings.Repeat("x", 32<<10)
	if got := probe(t, serve(t, endless(200, much, 0))("/")); got != success {
		t.Errorf("%s, %.100q", got.Result, got.Output)
	}
	got := probe(t, serve(t, endless(302, much, 0))("/"))
	if got.Result != answer.Warning || len(got.Output) != answer.MaxOutput {
		t.Errorf("%s with %d bytes, want a warning with %d", got.Result, len(got.Output), answer.MaxOutput)
	}
}

func TestSlowBodyIsAnErrorInTime(t *testing.T) {
	t.Parallel()
	at := serve(t, endless(200, "x", 20*time.Millisecond))
	got, err := Probe(t.Context(), at("/"), &corev1.Container{}, "127.0.0.1", agent, 3*time.Second)
	if err == nil || !strings.Contains(err.Error(), "while reading body") || got.Result != answer.Failure {
		t.Errorf("%+v, %v; want an error of the timeout in state failure", got, err)
	}
}

func TestEndsWithItsContext(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	at := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	got, err := Probe(ctx, at("/"), &corev1.Container{}, "127.0.0.1", agent, time.Hour)
	if err != nil || got.Result != answer.Failure {
		t.Errorf("%+v, %v", got, err)
	}
}
