package fakecri

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// running returns a container that runs, or containerd's error.
func (r *runtimeService) running(id string) (*container, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	k := st.containers[id]
	if k == nil {
		return nil, notFound("container", id)
	}
	if k.state != cri.ContainerState_CONTAINER_RUNNING {
		return nil, status.Errorf(codes.Unknown, "container is in %s state", k.state)
	}
	return k, nil
}

// ExecSync runs a command as the container's behaviour has it.
func (r *runtimeService) ExecSync(ctx context.Context, req *cri.ExecSyncRequest) (*cri.ExecSyncResponse, error) {
	k, err := r.running(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	if k.behaviour.Exec == nil {
		return &cri.ExecSyncResponse{Stdout: []byte(strings.Join(req.GetCmd(), " ") + "\n")}, nil
	}
	timeout := time.Duration(req.GetTimeout()) * time.Second
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	out, code, err := k.behaviour.Exec(ctx, req.GetCmd())
	switch {
	case ctx.Err() != nil && timeout > 0:
		return nil, status.Errorf(codes.DeadlineExceeded, "failed to exec in container: timeout %s exceeded", timeout)
	case err != nil:
		return nil, status.Error(codes.Unknown, err.Error())
	}
	return &cri.ExecSyncResponse{Stdout: []byte(out), ExitCode: code}, nil
}

// nowhere is where the fake's streams are: it has none.
func nowhere(what, id string) string { return fmt.Sprintf("http://127.0.0.1:1/%s/%s", what, id) }

// Exec prepares a command; nothing serves its streams.
func (r *runtimeService) Exec(_ context.Context, req *cri.ExecRequest) (*cri.ExecResponse, error) {
	if _, err := r.running(req.GetContainerId()); err != nil {
		return nil, err
	}
	return &cri.ExecResponse{Url: nowhere("exec", req.GetContainerId())}, nil
}

// Attach prepares streams that nothing serves.
func (r *runtimeService) Attach(_ context.Context, req *cri.AttachRequest) (*cri.AttachResponse, error) {
	if _, err := r.running(req.GetContainerId()); err != nil {
		return nil, err
	}
	return &cri.AttachResponse{Url: nowhere("attach", req.GetContainerId())}, nil
}

// PortForward prepares connections that nothing serves.
func (r *runtimeService) PortForward(_ context.Context, req *cri.PortForwardRequest) (*cri.PortForwardResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if sb := st.sandboxes[req.GetPodSandboxId()]; sb == nil {
		return nil, notFound("sandbox", req.GetPodSandboxId())
	}
	return &cri.PortForwardResponse{Url: nowhere("portforward", req.GetPodSandboxId())}, nil
}
