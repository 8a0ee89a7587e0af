package exec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/probe/answer"
)

// runner is a runtime that answers as it was told.
type runner struct {
	result  pod.ExecResult
	err     error
	id      string
	command []string
	timeout time.Duration
}

// ExecSync is part of Runner.
func (r *runner) ExecSync(_ context.Context, id string, command []string, timeout time.Duration) (pod.ExecResult, error) {
	r.id, r.command, r.timeout = id, command, timeout
	return r.result, r.err
}

func TestProbe(t *testing.T) {
	t.Parallel()
	broken := errors.New("no runtime")
	much := []byte(strings.Repeat("o", answer.MaxOutput-1))
	for name, c := range map[string]struct {
		result pod.ExecResult
		err    error
		want   answer.Answer
		failed error
	}{
		"well":     {result: pod.ExecResult{Stdout: []byte("fine")}, want: answer.Answer{Result: answer.Success}},
		"not well": {result: pod.ExecResult{ExitCode: 1, Stdout: []byte("out,"), Stderr: []byte("err")}, want: answer.Failed("out,err")},
		"silent":   {result: pod.ExecResult{ExitCode: -1}, want: answer.Failed("")},
		"talkative": {
			result: pod.ExecResult{ExitCode: 1, Stdout: much, Stderr: []byte("err")}, want: answer.Failed(string(much) + "e"),
		},
		"no text":        {result: pod.ExecResult{ExitCode: 1, Stdout: []byte("\xff")}, want: answer.Failed("\uFFFD")},
		"cannot be run":  {err: broken, failed: broken},
		"runtime is off": {err: fmt.Errorf("exec: %w", broken), failed: broken},
		"too long": {
			err:  fmt.Errorf("exec: %w", status.Error(codes.DeadlineExceeded, "timeout 3s exceeded")),
			want: answer.Failed(`command timed out: "check me" timed out after 3s`),
		},
		"too long without a status": {
			err: context.DeadlineExceeded, want: answer.Failed(`command timed out: "check me" timed out after 3s`),
		},
	} {
		r := &runner{result: c.result, err: c.err}
		got, err := Probe(t.Context(), r, "id", &corev1.ExecAction{Command: []string{"check", "me"}}, &corev1.Container{}, 3*time.Second)
		if got != c.want || !errors.Is(err, c.failed) {
			t.Errorf("%s: %.100v, %v; want %.100v, %v", name, got, err, c.want, c.failed)
		}
		if r.id != "id" || r.timeout != 3*time.Second || !slices.Equal(r.command, []string{"check", "me"}) {
			t.Errorf("%s: ran %q in %q for %s", name, r.command, r.id, r.timeout)
		}
	}
}

func TestVariablesOfTheSpecAreExpanded(t *testing.T) {
	t.Parallel()
	c := &corev1.Container{Env: []corev1.EnvVar{
		{Name: "PORT", Value: "1"}, {Name: "PORT", Value: "80"}, {Name: "URL", Value: "http://x:$(PORT)"},
		{Name: "SECRET", ValueFrom: &corev1.EnvVarSource{}},
	}}
	a := &corev1.ExecAction{Command: []string{"get", "$(PORT)", "$$(PORT)", "$(URL)", "<$(SECRET)>", "$(NOBODY)", "$PORT"}}
	r := &runner{}
	if _, err := Probe(t.Context(), r, "id", a, c, time.Second); err != nil {
		t.Fatal(err)
	}
	want := []string{"get", "80", "$(PORT)", "http://x:$(PORT)", "<>", "$(NOBODY)", "$PORT"}
	if !slices.Equal(r.command, want) {
		t.Errorf("ran %q, want %q", r.command, want)
	}
	if a.Command[1] != "$(PORT)" {
		t.Error("the spec was changed")
	}
}
