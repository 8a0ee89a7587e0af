package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	streamcommand "k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"nodeagent.dev/nodeagent/internal/pod"
)

// TestMain looks for what the server left behind. Not the server's are: klog's
// flusher, and what clients of streams keep for some seconds after they end.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		goleak.IgnoreTopFunction("k8s.io/client-go/tools/remotecommand.(*heartbeat).start"),
		goleak.IgnoreTopFunction("github.com/moby/spdystream.(*Connection).shutdown"))
}

// world is a node with pods that the test makes up, and a real streaming
// server in the runtime's place.
type world struct {
	t       *testing.T
	mu      sync.Mutex
	views   []*pod.View
	streams streaming.Server
	// exec is what a command in a container does.
	exec func(ctx context.Context, id string, cmd []string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan streamcommand.TerminalSize) error
	// forward is what a connection to a pod's port gets.
	forward func(ctx context.Context, sandbox string, port int32, stream io.ReadWriteCloser) error
	// read is what a log has.
	read    func(ctx context.Context, w pod.LogWriter, path string, opts pod.LogOptions, ended func() (bool, <-chan struct{})) error
	running []*corev1.Pod
	err     error // of every call to the runtime
	alive   error
	level   string
	// checkpoints are those that were asked for.
	checkpoints []string
	asked       []pod.Streams
	prepared    int
	server      *Server
	url         string
	client      *http.Client
	stop        func()
}

// newWorld serves the API over TLS until the test ends.
func newWorld(t *testing.T, change ...func(*Config)) *world {
	w := &world{t: t}
	w.serveStreams()
	cfg := Config{
		Guard:        func(h http.Handler) http.Handler { return h },
		SystemLogDir: t.TempDir(),
		Handlers: Handlers{Debugging: true, SystemLogs: true, Profiling: true, Flags: true, WebSockets: true,
			LogQuery: true, Checkpoint: true, Flagz: true, Statusz: true},
		CheckpointDir: filepath.Join(t.TempDir(), "checkpoints"), Version: "v1.37.1+nodeagent.0.1",
	}
	for _, f := range change {
		f(&cfg)
	}
	w.server = New(cfg, Sources{
		Pods: w, Runtime: w, Logs: w, Metrics: http.NotFoundHandler(), Config: map[string]string{"kind": "KubeletConfiguration"},
		Alive: func(context.Context) error { return w.alive }, Checkpoints: w, Flags: map[string]string{"config": "/etc/x", "v": "4"},
		SetVerbosity: func(level string) error {
			if len(level) != 1 {
				return errors.New("not a digit")
			}
			w.level = level
			return nil
		},
	}, zaptest.NewLogger(t))
	w.serve(w.server.Handler(), true)
	return w
}

// serve replaces what is served by h.
func (w *world) serve(h http.Handler, secure bool) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	conf := cert.TLS.Clone()
	cert.Close()
	w.url, w.client = "http://"+l.Addr().String(), &http.Client{Transport: &http.Transport{}}
	if secure {
		w.url = "https://" + l.Addr().String()
		w.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		conf.NextProtos = []string{"h2", "http/1.1"}
	} else {
		conf = nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.server.serveOn(ctx, l, conf, h) }()
	w.stop = sync.OnceFunc(func() {
		w.client.CloseIdleConnections()
		cancel()
		select {
		case err := <-done:
			if err != nil {
				w.t.Error(err)
			}
		case <-time.After(30 * time.Second):
			w.t.Error("the server does not end")
		}
	})
	w.t.Cleanup(w.stop)
}

// serveStreams starts the streaming server.
func (w *world) serveStreams() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := streaming.DefaultConfig
	cfg.BaseURL = &url.URL{Scheme: "http", Host: l.Addr().String()}
	if w.streams, err = streaming.NewServer(cfg, streamRuntime{w}); err != nil {
		w.t.Fatal(err)
	}
	srv := &http.Server{Handler: w.streams, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	w.t.Cleanup(func() { _ = srv.Close(); <-done })
}

type streamRuntime struct{ *world }

func (r streamRuntime) Exec(ctx context.Context, id string, cmd []string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan streamcommand.TerminalSize) error {
	return r.exec(ctx, id, cmd, in, out, errs, tty, resize)
}

func (r streamRuntime) Attach(ctx context.Context, id string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan streamcommand.TerminalSize) error {
	return r.exec(ctx, id, nil, in, out, errs, tty, resize)
}

func (r streamRuntime) PortForward(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	return r.forward(ctx, id, port, stream)
}

// note remembers what was asked of the runtime.
func (w *world) note(s pod.Streams) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.prepared = append(w.asked, s), w.prepared+1
	return w.err
}

func (w *world) Exec(_ context.Context, id string, command []string, s pod.Streams) (*url.URL, error) {
	if err := w.note(s); err != nil {
		return nil, err
	}
	resp, err := w.streams.GetExec(&runtimeapi.ExecRequest{ContainerId: id, Cmd: command, Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr, Tty: s.TTY})
	if err != nil {
		return nil, err
	}
	return url.Parse(resp.Url)
}

func (w *world) Attach(_ context.Context, id string, s pod.Streams) (*url.URL, error) {
	if err := w.note(s); err != nil {
		return nil, err
	}
	resp, err := w.streams.GetAttach(&runtimeapi.AttachRequest{ContainerId: id, Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr, Tty: s.TTY})
	if err != nil {
		return nil, err
	}
	return url.Parse(resp.Url)
}

func (w *world) PortForward(_ context.Context, sandbox string, ports []int32) (*url.URL, error) {
	if err := w.note(pod.Streams{}); err != nil {
		return nil, err
	}
	resp, err := w.streams.GetPortForward(&runtimeapi.PortForwardRequest{PodSandboxId: sandbox, Port: ports})
	if err != nil {
		return nil, err
	}
	return url.Parse(resp.Url)
}

func (w *world) ExecSync(_ context.Context, id string, command []string, _ time.Duration) (pod.ExecResult, error) {
	if command[0] == "false" {
		return pod.ExecResult{Stderr: []byte("bad"), ExitCode: 3}, w.err
	}
	return pod.ExecResult{Stdout: []byte(id + " ran " + command[len(command)-1]), Stderr: []byte("+")}, w.err
}

func (w *world) Checkpoint(_ context.Context, id, path string, seconds int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checkpoints = append(w.checkpoints, fmt.Sprint(id, " ", path, " ", seconds))
	return w.err
}

func (w *world) LogPath(_ context.Context, id string) (string, error) { return "/logs/" + id, w.err }

func (w *world) Running(context.Context) ([]*corev1.Pod, error) { return w.running, w.err }

func (w *world) Read(ctx context.Context, out pod.LogWriter, path string, opts pod.LogOptions, ended func() (bool, <-chan struct{})) error {
	return w.read(ctx, out, path, opts, ended)
}

func (w *world) Views() []*pod.View {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*pod.View(nil), w.views...)
}

func (w *world) View(uid types.UID) *pod.View {
	for _, v := range w.Views() {
		if v.Ref.UID == uid {
			return v
		}
	}
	return nil
}

// put replaces the pods.
func (w *world) put(views ...*pod.View) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.views = views
}

// runs returns a pod with container c up, whose ID is "id".
func runs(name, uid string, change ...func(*pod.View)) *pod.View {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(uid)}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i", TTY: true}, {Name: "other"}}
	v := &pod.View{Ref: pod.RefOf(p), Pod: p, Sandbox: "box", Stage: "Syncing"}
	v.Status.Phase = corev1.PodRunning
	v.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", ContainerID: "containerd://id",
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	for _, f := range change {
		f(v)
	}
	return v
}

// do makes a request and returns the code, the header and the body.
func (w *world) do(method, path string, body io.Reader) (int, http.Header, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}
