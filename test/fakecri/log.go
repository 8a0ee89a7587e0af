package fakecri

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// logPath is where a container logs to; empty when it does not.
func logPath(k *container, sb *sandbox) string {
	if sb.config.GetLogDirectory() == "" || k.config.GetLogPath() == "" {
		return ""
	}
	return filepath.Join(sb.config.GetLogDirectory(), k.config.GetLogPath())
}

// openLog makes the file that a container logs to. Agents look for the logs of all
// that run, and have work with one that is missing.
func (st *state) openLog(k *container, sb *sandbox) error {
	path := logPath(k, sb)
	if !st.cfg.Logs || path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return fmt.Errorf("failed to create container logger: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("failed to create container logger: %w", err)
	}
	return nil
}

// ReopenContainerLog makes a new file when the last one has got another name.
func (r *runtimeService) ReopenContainerLog(_ context.Context, req *cri.ReopenContainerLogRequest) (*cri.ReopenContainerLogResponse, error) {
	k, err := r.running(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if sb := st.sandboxOf(k); sb != nil {
		err = st.openLog(k, sb)
	}
	if err != nil {
		return nil, status.Error(codes.Unknown, err.Error())
	}
	return &cri.ReopenContainerLogResponse{}, nil
}
