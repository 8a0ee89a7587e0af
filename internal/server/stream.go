package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/proxy"
	translator "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"nodeagent.dev/nodeagent/internal/pod"
)

// serveExec runs a command in a container.
func (s *Server) serveExec(w http.ResponseWriter, r *http.Request) {
	s.remoteCommand(w, r, "exec", func(v *pod.View, streams *pod.Streams) (*url.URL, error) {
		id := s.running(r, v)
		if id == "" {
			return nil, fmt.Errorf("container not found (%q)", r.PathValue("container"))
		}
		if err := upgrade(r); err != nil {
			return nil, err
		}
		return s.from.Runtime.Exec(r.Context(), id, r.URL.Query()["command"], *streams)
	})
}

// serveAttach connects to the first process of a container. Whether that has a
// terminal is the container's to say.
func (s *Server) serveAttach(w http.ResponseWriter, r *http.Request) {
	s.remoteCommand(w, r, "attach", func(v *pod.View, streams *pod.Streams) (*url.URL, error) {
		name := r.PathValue("container")
		id := s.running(r, v)
		spec, _ := pod.Find(v.Pod, name)
		if id == "" || spec == nil {
			return nil, fmt.Errorf("container %s not found in pod %s", name, v.Ref.FullName())
		}
		if err := upgrade(r); err != nil {
			return nil, err
		}
		asked := *streams
		asked.TTY = spec.TTY
		return s.from.Runtime.Attach(r.Context(), id, asked)
	})
}

// remoteCommand takes the streams of an exec or attach to the runtime.
func (s *Server) remoteCommand(w http.ResponseWriter, r *http.Request, what string, address func(*pod.View, *pod.Streams) (*url.URL, error)) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	v := s.find(r)
	if v == nil {
		fail(w, http.StatusNotFound, "pod does not exist")
		return
	}
	streams := pod.Streams{Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr, TTY: opts.TTY}
	to, err := address(v, &streams)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	if s.cfg.Handlers.WebSockets && wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
		s.from.Upgraded(what)
		translator.NewStreamTranslatorHandler(to, nil, 0, translator.Options{
			Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr, Tty: opts.TTY,
		}).ServeHTTP(w, r)
		return
	}
	s.proxy(to).ServeHTTP(w, r)
}

// servePortForward takes connections to ports of a pod.
func (s *Server) servePortForward(w http.ResponseWriter, r *http.Request) {
	tunnel := s.cfg.Handlers.WebSockets && wsstream.IsWebSocketRequestWithTunnelingProtocol(r)
	opts := &portforward.V4Options{}
	if !tunnel {
		var err error
		if opts, err = portforward.NewV4Options(r); err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	v := s.find(r)
	if v == nil {
		fail(w, http.StatusNotFound, "pod does not exist")
		return
	}
	if otherUID(r, v) {
		fail(w, http.StatusNotFound, "pod not found")
		return
	}
	if v.Sandbox == "" {
		s.refuse(w, r, fmt.Errorf("pod not found (%q)", v.Ref.FullName()))
		return
	}
	if err := upgrade(r); err != nil {
		s.refuse(w, r, err)
		return
	}
	to, err := s.from.Runtime.PortForward(r.Context(), v.Sandbox, opts.Ports)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	var h http.Handler = s.proxy(to)
	if tunnel {
		s.from.Upgraded("portforward")
		h = translator.NewTunnelingHandler(h)
	}
	h.ServeHTTP(w, r)
}

// serveRun runs a command and answers with what it wrote.
func (s *Server) serveRun(w http.ResponseWriter, r *http.Request) {
	v := s.find(r)
	if v == nil {
		fail(w, http.StatusNotFound, "pod does not exist")
		return
	}
	id := s.running(r, v)
	if id == "" {
		fail(w, http.StatusInternalServerError, fmt.Sprintf("container not found (%q)", r.PathValue("container")))
		return
	}
	command := strings.Split(r.FormValue("cmd"), " ")
	result, err := s.from.Runtime.ExecSync(r.Context(), id, command, 0)
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("command '%s' exited with %d: %s", strings.Join(command, " "), result.ExitCode, result.Stderr)
	}
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json") // as the kubelet says of any output
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(append(result.Stdout, result.Stderr...))
}

// running returns the ID of the container that a path names, if it runs.
func (s *Server) running(r *http.Request, v *pod.View) string {
	if otherUID(r, v) {
		return ""
	}
	return runningID(v, r.PathValue("container"))
}

// upgrade refuses requests that do not ask for streams, before the runtime
// prepares any.
func upgrade(r *http.Request) error {
	if !httpstream.IsUpgradeRequest(r) {
		return errNoUpgrade
	}
	return nil
}

// errNoUpgrade has the kubelet's text, newline included.
var errNoUpgrade = errors.New("Upgrade request required\n")

// refuse answers for a stream that could not be prepared.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	s.log.Debug("a stream is refused", zap.String("path", r.URL.Path), zap.Error(err))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_ = streaming.WriteError(err, w)
}

// proxy takes an upgraded connection to the runtime's streaming server.
func (s *Server) proxy(to *url.URL) *proxy.UpgradeAwareHandler {
	return proxy.NewUpgradeAwareHandler(to, nil, false, true, responder{s.log})
}

// responder reports what went wrong between the agent and the runtime.
type responder struct{ log *zap.Logger }

// Error implements proxy.ErrorResponder.
func (p responder) Error(w http.ResponseWriter, r *http.Request, err error) {
	p.log.Warn("passing a stream on failed", zap.String("path", r.URL.Path), zap.Error(err))
	http.Error(w, err.Error(), http.StatusInternalServerError)
}
