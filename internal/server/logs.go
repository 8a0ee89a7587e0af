package server

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// serveLogs answers /containerLogs/{namespace}/{pod}/{container}.
func (s *Server) serveLogs(w http.ResponseWriter, r *http.Request) {
	asked, err := decodeLogOptions(r.URL.Query())
	switch {
	case errors.Is(err, errInvalidLog):
		fail(w, http.StatusUnprocessableEntity, err.Error())
		return
	case err != nil:
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	name, container := r.PathValue("pod"), r.PathValue("container")
	v := s.find(r)
	if v == nil {
		fail(w, http.StatusNotFound, fmt.Sprintf("pod %q does not exist", name))
		return
	}
	if spec, _ := pod.Find(v.Pod, container); spec == nil {
		fail(w, http.StatusNotFound, fmt.Sprintf("container %q not found in pod %q", container, name))
		return
	}
	if asked.Stream != nil && *asked.Stream != corev1.LogStreamAll && !s.cfg.Handlers.SplitLogStreams {
		fail(w, http.StatusBadRequest, fmt.Sprintf("unable to return the given log stream: %q. Please enable PodLogsQuerySplitStreams feature gate in kubelet", *asked.Stream))
		return
	}
	id, err := loggedID(name, &v.Status, container, asked.Previous)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	path, err := s.from.Runtime.LogPath(r.Context(), bareID(id))
	if err != nil {
		s.log.Warn("the runtime cannot tell where a container logs to", zap.String("pod", v.Ref.String()), zap.String("container", id), zap.Error(err))
		fail(w, http.StatusBadRequest, "unable to retrieve container logs for "+id)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := &logWriter{w: w, rc: http.NewResponseController(w)}
	err = s.from.Logs.Read(r.Context(), out, path, logOptions(asked, time.Now()), s.endOf(v.Ref.UID, container, id))
	if err == nil || r.Context().Err() != nil {
		return
	}
	s.log.Warn("reading a container's log failed", zap.String("pod", v.Ref.String()), zap.String("container", container), zap.Error(err))
	if !out.begun {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	panic(http.ErrAbortHandler) // what was sent is not the whole log: let the client see it
}

// endOf tells a reader that follows a log when its container has ended.
func (s *Server) endOf(uid types.UID, container, id string) func() (bool, <-chan struct{}) {
	return func() (bool, <-chan struct{}) {
		v := s.from.Pods.View(uid)
		if v == nil || runningID(v, container) != bareID(id) {
			return true, nil
		}
		return false, v.Superseded
	}
}

// logWriter sends a log to a client, which has some time to take it.
type logWriter struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	begun bool
	until time.Time // the deadline that is set
}

// Write implements io.Writer.
func (l *logWriter) Write(p []byte) (int, error) {
	l.begun = true
	if until := time.Now().Add(streamStall); until.Sub(l.until) > streamStall/100 {
		l.until = until
		_ = l.rc.SetWriteDeadline(until)
	}
	return l.w.Write(p)
}

// Flush implements pod.LogWriter. The first one sends the header.
func (l *logWriter) Flush() error {
	l.begun = true
	return l.rc.Flush()
}
