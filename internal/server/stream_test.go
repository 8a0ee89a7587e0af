package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream" //nolint:staticcheck // deprecated, but what client-go's dialers are
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	streamcommand "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"nodeagent.dev/nodeagent/internal/pod"
)

// restConfig is how a client of the API reaches the server.
func (w *world) restConfig() *rest.Config {
	return &rest.Config{Host: w.url, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
}

// executors are the two protocols of kubectl exec and attach.
func (w *world) executors(path string) map[string]func() (remotecommand.Executor, error) {
	u, err := url.Parse(w.url + path)
	if err != nil {
		w.t.Fatal(err)
	}
	return map[string]func() (remotecommand.Executor, error){
		"spdy": func() (remotecommand.Executor, error) {
			return remotecommand.NewSPDYExecutor(w.restConfig(), "POST", u)
		},
		"websocket": func() (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(w.restConfig(), "GET", u.String())
		},
	}
}

// TestExec: streams of some size go both ways and the exit code comes back.
func TestExec(t *testing.T) {
	input := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	w := newWorld(t)
	w.put(runs("p", "u"))
	w.exec = func(_ context.Context, id string, cmd []string, in io.Reader, out, errs io.WriteCloser, _ bool, _ <-chan streamcommand.TerminalSize) error {
		if id != "id" || strings.Join(cmd, "|") != "cat|a b" {
			t.Errorf("%s runs %q", id, cmd)
		}
		if n, err := io.Copy(out, in); n != int64(len(input)) || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		_, _ = io.WriteString(errs, "done")
		return &utilexec.CodeExitError{Err: errors.New("exit"), Code: 7}
	}
	for name, executor := range w.executors("/exec/ns/p/c?command=cat&command=a+b&input=1&output=1&error=1") {
		t.Run(name, func(t *testing.T) {
			e, err := executor()
			if err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			err = e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: bytes.NewReader(input), Stdout: &out, Stderr: &errs})
			var exit exec.CodeExitError
			if !errors.As(err, &exit) || exit.Code != 7 || errs.String() != "done" || !bytes.Equal(out.Bytes(), input) {
				t.Errorf("%v, %q, %d bytes", err, errs.String(), out.Len())
			}
		})
	}
}

// TestAttachHasTheTerminalOfTheContainer whatever the client asks for.
func TestAttachHasTheTerminalOfTheContainer(t *testing.T) {
	w := newWorld(t)
	w.put(runs("p", "u"))
	w.exec = func(_ context.Context, _ string, _ []string, _ io.Reader, out, _ io.WriteCloser, tty bool, resize <-chan streamcommand.TerminalSize) error {
		size := <-resize
		_, err := io.WriteString(out, strconv.FormatBool(tty)+" "+strconv.Itoa(int(size.Width)))
		return err
	}
	for name, executor := range w.executors("/attach/ns/p/c?output=1&tty=1") {
		e, err := executor()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err = e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out, Tty: true, TerminalSizeQueue: sizes{make(chan struct{}, 1)}})
		if err != nil || out.String() != "true 120" {
			t.Errorf("%s: %v, %q", name, err, out.String())
		}
	}
	for _, s := range w.asked {
		if (s != pod.Streams{Stdout: true, TTY: true}) {
			t.Errorf("asked for %+v", s)
		}
	}
}

// sizes tells one terminal size.
type sizes struct{ told chan struct{} }

func (s sizes) Next() *remotecommand.TerminalSize {
	select {
	case s.told <- struct{}{}:
		return &remotecommand.TerminalSize{Width: 120, Height: 40}
	default:
		return nil
	}
}

// TestPortForward over SPDY and over SPDY in a WebSocket.
func TestPortForward(t *testing.T) {
	w := newWorld(t)
	w.put(runs("p", "u"))
	w.forward = func(_ context.Context, sandbox string, port int32, stream io.ReadWriteCloser) error {
		if sandbox != "box" || port != 8080 {
			t.Errorf("%s:%d", sandbox, port)
		}
		got, err := io.ReadAll(stream) // the client closes its half
		if err != nil {
			return err
		}
		_, err = stream.Write(bytes.ToUpper(got))
		return err
	}
	u, err := url.Parse(w.url + "/portForward/ns/p")
	if err != nil {
		t.Fatal(err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(w.restConfig())
	if err != nil {
		t.Fatal(err)
	}
	tunnel, err := portforward.NewSPDYOverWebsocketDialer(u, w.restConfig())
	if err != nil {
		t.Fatal(err)
	}
	for name, dialer := range map[string]httpstream.Dialer{
		"spdy":      spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u),
		"websocket": tunnel,
	} {
		conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		header := http.Header{}
		header.Set(corev1.StreamType, corev1.StreamTypeError)
		header.Set(corev1.PortHeader, "8080")
		header.Set(corev1.PortForwardRequestIDHeader, "1")
		errs, err := conn.CreateStream(header)
		if err != nil {
			t.Fatal(err)
		}
		_ = errs.Close()
		header.Set(corev1.StreamType, corev1.StreamTypeData)
		data, err := conn.CreateStream(header)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(data, "half closed")
		if err := errors.Join(err, data.Close()); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(data)
		if err != nil || string(got) != "HALF CLOSED" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		_ = conn.Close()
	}
}

// TestRefusedStreams: the client sees the runtime's own words.
func TestRefusedStreams(t *testing.T) {
	w := newWorld(t)
	w.put(runs("p", "u"), runs("none", "n", func(v *pod.View) { v.Sandbox = "" }))
	upgrade := func(path string) (int, http.Header, string) {
		req, err := http.NewRequestWithContext(t.Context(), "POST", w.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "SPDY/3.1")
		resp, err := w.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, resp.Header, string(body)
	}
	w.client.Transport.(*http.Transport).ForceAttemptHTTP2 = false // an upgrade is a thing of HTTP/1
	for err, code := range map[error]int{
		status.Error(codes.NotFound, "no such container"): 404,
		status.Error(codes.ResourceExhausted, "too many"): 429,
		status.Error(codes.Unavailable, "down"):           500,
	} {
		w.err = err
		for _, path := range []string{"/exec/ns/p/c?output=1", "/attach/ns/p/c?output=1", "/portForward/ns/p"} {
			if got, _, body := upgrade(path); got != code || body != err.Error() {
				t.Errorf("%s: %d %s, want %d", path, got, body, code)
			}
		}
	}
	if got, _, body := upgrade("/portForward/ns/none"); got != 500 || body != `pod not found ("none_ns")` {
		t.Errorf("%d %s", got, body)
	}
	for range cap(w.server.streams) {
		w.server.streams <- struct{}{}
	}
	if got, h, _ := upgrade("/exec/ns/p/c?output=1"); got != 429 || h.Get("Retry-After") == "" {
		t.Errorf("with all places taken: %d %v", got, h)
	}
}

// TestStreamsEndWithTheServer: http.Server itself forgets upgraded connections.
func TestStreamsEndWithTheServer(t *testing.T) {
	w := newWorld(t)
	w.put(runs("p", "u"))
	ended := make(chan struct{}, 2)
	w.exec = func(_ context.Context, _ string, _ []string, in io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan streamcommand.TerminalSize) error {
		_, _ = io.WriteString(out, "begun")
		_, err := io.Copy(io.Discard, in)
		ended <- struct{}{}
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	left := map[string]chan error{"spdy": make(chan error, 1), "websocket": make(chan error, 1)}
	for name, executor := range w.executors("/exec/ns/p/c?command=cat&input=1&output=1") {
		e, err := executor()
		if err != nil {
			t.Fatal(err)
		}
		in, end := io.Pipe()
		defer end.Close()
		begun, out := io.Pipe()
		go func() {
			left[name] <- e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out})
		}()
		if _, err := io.ReadFull(begun, make([]byte, len("begun"))); err != nil {
			t.Fatal(err)
		}
	}
	w.stop() // fails the test when a handler does not end
	for range 2 {
		<-ended // the runtime's side
	}
	t.Logf("the SPDY client ends with %v", <-left["spdy"])
	cancel() // a WebSocket client does not notice on its own
	t.Logf("the WebSocket client ends with %v", <-left["websocket"])
}
