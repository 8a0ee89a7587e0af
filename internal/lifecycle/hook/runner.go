package hook

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// maxOutput is how much of a command's output or of an answer is looked at, in
// bytes (kubelet: lifecycle/handlers.go).
const maxOutput = 10 << 10

// Exec runs commands in containers.
type Exec interface {
	// ExecSync runs a command and returns when it has ended. Zero timeout leaves
	// the end to ctx. That the command failed is no error.
	ExecSync(ctx context.Context, containerID string, command []string, timeout time.Duration) (pod.ExecResult, error)
}

// Events tells users what happened. container is empty for the pod itself.
type Events interface {
	Event(p *corev1.Pod, container string, warning bool, reason, message string)
}

// Deps is what a Runner needs beside the runtime.
type Deps struct {
	// Events may be nil: then nobody is told.
	Events Events
	// Version is the Kubernetes version this agent stands for ("v1.37.1"). Its
	// first two numbers are in the user agent of requests.
	Version string
	// HTTPFallback and SleepEnded count requests that had to be repeated without
	// TLS and sleeps that were cut short; both may be nil
	// (kubelet_lifecycle_handler_http_fallbacks_total, ..._sleep_terminated_total).
	HTTPFallback func()
	SleepEnded   func()
}

// Runner runs lifecycle handlers. It is safe for concurrent use.
type Runner struct {
	exec  Exec
	deps  Deps
	agent string // User-Agent
}

// New returns a Runner that runs commands with exec.
func New(exec Exec, deps Deps) *Runner {
	if deps.HTTPFallback == nil {
		deps.HTTPFallback = func() {}
	}
	if deps.SleepEnded == nil {
		deps.SleepEnded = func() {}
	}
	return &Runner{exec: exec, deps: deps, agent: userAgent(deps.Version)}
}

// Run runs the handler and returns when it has ended, at the latest when ctx
// does. The error's text is the kubelet's, as it appears in the message of a
// container that waits. It may hold secrets (an output, a header's value in an
// address), so it belongs into the container's status but not into events.
func (r *Runner) Run(ctx context.Context, t pod.HookTarget) error {
	h := t.Handler
	switch {
	case t.Pod == nil || t.Container == nil:
		return errors.New("cannot run a lifecycle handler: no pod or no container was given")
	case h != nil && h.Exec != nil:
		output, err := r.command(ctx, t.ContainerID, h.Exec.Command)
		if err == nil {
			return nil
		}
		return failed(&t, fmt.Sprintf("Exec lifecycle hook (%v)", h.Exec.Command), err, fmt.Sprintf(", message: %q", output))
	case h != nil && h.HTTPGet != nil:
		err := r.httpGet(ctx, &t)
		if err == nil {
			return nil
		}
		return failed(&t, fmt.Sprintf("HTTP lifecycle hook (%s)", h.HTTPGet.Path), err, "")
	case h != nil && h.Sleep != nil:
		err := r.sleep(ctx, h.Sleep.Seconds)
		if err == nil {
			return nil
		}
		return failed(&t, fmt.Sprintf("Sleep lifecycle hook (%d)", h.Sleep.Seconds), err, "")
	}
	return &failure{text: fmt.Sprintf("Cannot run handler: invalid handler: %v", h)}
}

// failure is a handler's failure in the kubelet's words.
type failure struct {
	text  string
	cause error
}

// Error implements error.
func (f *failure) Error() string { return f.text }

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.cause }

func failed(t *pod.HookTarget, what string, cause error, more string) error {
	return &failure{
		text: fmt.Sprintf("%s for Container %q in Pod %q failed - error: %v%s",
			what, t.Container.Name, pod.LongName(pod.RefOf(t.Pod)), cause, more),
		cause: cause,
	}
}

// ExitError is a command that ended with another code than zero.
type ExitError struct {
	Command []string
	Code    int32
	Stderr  string
}

// Error is the text that the kubelet's CRI client has for it.
func (e *ExitError) Error() string {
	return fmt.Sprintf("command '%s' exited with %d: %s", strings.Join(e.Command, " "), e.Code, e.Stderr)
}

// command runs a command as it is: unlike a container's own one, no variables are
// expanded in it. The output is what it wrote, the errors last.
func (r *Runner) command(ctx context.Context, id string, command []string) (output string, err error) {
	res, err := r.exec.ExecSync(ctx, id, command, 0)
	if err != nil {
		return "", err
	}
	if res.ExitCode == 0 {
		return "", nil
	}
	out := head(res.Stdout, maxOutput)
	out += head(res.Stderr, maxOutput-len(out))
	return out, &ExitError{Command: command, Code: res.ExitCode, Stderr: head(res.Stderr, maxOutput)}
}

// head is the first n bytes.
func head(b []byte, n int) string { return string(b[:min(len(b), n)]) }

var errSleepEnded = errors.New("container terminated before sleep hook finished")

// sleep waits; no time at all is also a success.
func (r *Runner) sleep(ctx context.Context, seconds int64) error {
	d := time.Duration(min(max(seconds, 0), math.MaxInt64/int64(time.Second))) * time.Second
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	default:
	}
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		r.deps.SleepEnded()
		return errSleepEnded
	}
}
