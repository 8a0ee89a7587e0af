package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/pod"
)

// checkpointMode is the kubelet's mode of the directory with checkpoints, which
// hold the memory of containers.
const checkpointMode = 0o700

// serveCheckpoint makes a checkpoint of a container and answers with its path.
// https://kubernetes.io/docs/reference/node/kubelet-checkpoint-api/
func (s *Server) serveCheckpoint(w http.ResponseWriter, r *http.Request) {
	v, name := s.find(r), r.PathValue("container")
	if v == nil {
		fail(w, http.StatusNotFound, "pod does not exist")
		return
	}
	if c, _ := pod.Find(v.Pod, name); c == nil {
		fail(w, http.StatusNotFound, fmt.Sprintf("container %v does not exist", name))
		return
	}
	var seconds int64
	if asked := r.URL.Query()["timeout"]; len(asked) > 0 {
		var err error
		if seconds, err = strconv.ParseInt(asked[len(asked)-1], 10, 64); err != nil {
			fail(w, http.StatusNotFound, "cannot parse value of timeout parameter")
			return
		}
	}
	path, err := s.checkpoint(r.Context(), v, name, seconds, time.Now())
	if err != nil {
		s.log.Warn("a container could not be checkpointed", zap.Stringer("pod", v.Ref), zap.String("container", name), zap.Error(err))
		fail(w, http.StatusInternalServerError, fmt.Sprintf("checkpointing of %v/%v/%v failed (%v)", v.Ref.Namespace, v.Ref.Name, name, err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"items":[%q]}`, path)
}

// checkpoint lets the runtime write a container's state into a file that is named
// after it and the time.
func (s *Server) checkpoint(ctx context.Context, v *pod.View, container string, seconds int64, now time.Time) (string, error) {
	id := runningID(v, container)
	if id == "" {
		return "", fmt.Errorf("container %v not found", container)
	}
	name := fmt.Sprintf("checkpoint-%s-%s-%s.tar", v.Ref.FullName(), container, now.Format(time.RFC3339))
	if filepath.Base(name) != name {
		return "", errors.New("its name cannot be that of a file")
	}
	if err := os.MkdirAll(s.cfg.CheckpointDir, checkpointMode); err != nil {
		return "", fmt.Errorf("making the directory for checkpoints: %w", err)
	}
	path := filepath.Join(s.cfg.CheckpointDir, name)
	return path, s.from.Checkpoints.Checkpoint(ctx, id, path, seconds)
}
