package probe

import (
	"context"
	"fmt"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/probe/answer"
	"nodeagent.dev/nodeagent/internal/probe/exec"
	"nodeagent.dev/nodeagent/internal/probe/grpc"
	"nodeagent.dev/nodeagent/internal/probe/http"
	"nodeagent.dev/nodeagent/internal/probe/tcp"
)

// handlers ask targets in the way their probe says.
type handlers struct {
	exec      Exec
	userAgent string
}

// handle asks a target once. An error means that it could not be asked.
func (h handlers) handle(ctx context.Context, t pod.ProbeTarget) (answer.Answer, error) {
	spec := t.Kind.Spec(t.Container)
	timeout := rulesOf(spec).timeout
	switch {
	case spec.Exec != nil:
		return exec.Probe(ctx, h.exec, t.ContainerID, spec.Exec, t.Container, timeout)
	case spec.HTTPGet != nil:
		return http.Probe(ctx, spec.HTTPGet, t.Container, t.IP, h.userAgent, timeout)
	case spec.TCPSocket != nil:
		return tcp.Probe(ctx, spec.TCPSocket, t.Container, t.IP, timeout)
	case spec.GRPC != nil:
		return grpc.Probe(ctx, spec.GRPC, t.IP, h.userAgent, timeout)
	}
	return answer.Answer{}, fmt.Errorf("missing probe handler for container %q", t.Container.Name)
}
