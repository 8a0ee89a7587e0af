package cri

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"nodeagent.dev/nodeagent/internal/pod"
)

// The kubelet's reasons for what the runtime refuses (container/sync_result.go,
// images/types.go).
const (
	reasonCreateSandbox   = "CreatePodSandboxError"
	reasonKillSandbox     = "KillPodSandboxError"
	reasonRemoveSandbox   = "RemovePodSandboxError"
	reasonCreateContainer = "CreateContainerError"
	reasonRunContainer    = "RunContainerError"
	reasonKillContainer   = "KillContainerError"
	reasonRemoveContainer = "RemoveContainerError"
	reasonInspectImage    = "ImageInspectError"
	reasonPullImage       = "ErrImagePull"
)

// call makes one unary call: with a deadline (none when zero), and counted.
func call[Req, Resp any](ctx context.Context, c *Client, operation string, timeout time.Duration,
	f func(context.Context, *Req, ...grpc.CallOption) (*Resp, error), req *Req,
) (*Resp, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	begin := time.Now()
	resp, err := f(ctx, req)
	c.cfg.Observe(operation, time.Since(begin), err)
	if err != nil {
		return nil, c.explain(err)
	}
	return resp, nil
}

// explain says what to do about a runtime that cannot be reached. The gRPC
// status stays in the chain.
func (c *Client) explain(err error) error {
	st, ok := status.FromError(err)
	if !ok || st.Code() != codes.Unavailable || !strings.Contains(st.Message(), "rror while dialing") {
		return err
	}
	at := c.cfg.RuntimeEndpoint
	if c.cfg.ImageEndpoint != "" && c.cfg.ImageEndpoint != at {
		at += " or " + c.cfg.ImageEndpoint
	}
	return &unreachable{at: at, err: err}
}

// unreachable is a runtime that does not answer at its socket.
type unreachable struct {
	at  string
	err error
}

// Error says what was tried, why it failed and what to do.
func (u *unreachable) Error() string {
	return fmt.Sprintf("cannot reach the container runtime at %s: %v (is containerd running? "+
		"if its socket is elsewhere, set containerRuntimeEndpoint)", u.at, u.err)
}

// Unwrap returns the gRPC error.
func (u *unreachable) Unwrap() error { return u.err }

func isNotFound(err error) bool { return status.Code(err) == codes.NotFound }

func isUnimplemented(err error) bool {
	if err == nil {
		return false
	}
	st, ok := status.FromError(err)
	// containerd 2.2 says "not implemented" with code Unknown for some calls.
	return ok && (st.Code() == codes.Unimplemented || st.Code() == codes.Unknown && strings.Contains(st.Message(), "not implemented"))
}

// fail makes a Failure whose message is the error's text with gRPC's wrapper,
// as the kubelet shows it for sandboxes, stops and pulls.
func fail(reason string, err error) error {
	return &pod.Failure{Reason: reason, Message: err.Error(), Err: err}
}

// failPlain makes a Failure whose message is the runtime's text alone, as the
// kubelet shows it for creating and starting containers.
func failPlain(reason string, err error) error {
	message := err.Error()
	if st, ok := status.FromError(err); ok && status.Code(err) != codes.Unavailable {
		message = st.Message()
	}
	return &pod.Failure{Reason: reason, Message: message, Err: err}
}
