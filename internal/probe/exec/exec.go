package exec

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/probe/answer"
)

// Runner runs commands in containers.
type Runner interface {
	// ExecSync runs a command in a container and returns when it has ended. A
	// command that took longer than timeout is an error with the gRPC status
	// DeadlineExceeded; one that failed is none.
	ExecSync(ctx context.Context, containerID string, command []string, timeout time.Duration) (pod.ExecResult, error)
}

// Probe runs the action's command in the container with the given ID, whose spec
// is c. Exit code zero within timeout is a success. An error means that the
// command could not be run.
func Probe(ctx context.Context, r Runner, id string, a *corev1.ExecAction, c *corev1.Container, timeout time.Duration) (answer.Answer, error) {
	command := expand(a.Command, c.Env)
	result, err := r.ExecSync(ctx, id, command, timeout)
	switch {
	case status.Code(err) == codes.DeadlineExceeded, errors.Is(err, context.DeadlineExceeded):
		return answer.Failed(fmt.Sprintf("command timed out: %q timed out after %s", strings.Join(command, " "), timeout)), nil
	case err != nil:
		return answer.Answer{}, err
	case result.ExitCode != 0:
		return answer.Failed(output(result)), nil
	}
	return answer.Answer{Result: answer.Success}, nil
}

// output is what the command wrote, the two streams one after the other. Of
// either no more is copied than can be kept.
func output(r pod.ExecResult) string {
	head := func(b []byte) string { return string(b[:min(len(b), answer.MaxOutput)]) }
	return head(r.Stdout) + head(r.Stderr)
}

// expand replaces references to the variables that the spec gives a value. What
// a variable takes from elsewhere is not known to a probe, and empty, as in the
// kubelet.
func expand(command []string, env []corev1.EnvVar) []string {
	values := make(map[string]string, len(env))
	for _, e := range env {
		values[e.Name] = e.Value
	}
	out := make([]string, len(command))
	for i, s := range command {
		out[i] = containerspec.Expand(s, func(name string) (string, bool) {
			v, ok := values[name]
			return v, ok
		})
	}
	return out
}
