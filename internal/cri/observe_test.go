package cri_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/cri"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/test/fakecri"
)

// What a container is made with is found again in the runtime alone.
func TestWhatAnEndedContainerSaid(t *testing.T) {
	bubble(t, fakecri.Config{}, func(r *rig) {
		conn, err := r.s.Dial()
		r.no(err)
		var read []string
		c := cri.NewWithConns(conn, conn, cri.Config{
			Node:        func() containerspec.Node { return containerspec.Node{LogRoot: "/logs"} },
			ReadMessage: func(path string) (string, error) { read = append(read, path); return "", nil },
			TailLog:     func(path string) (string, error) { read = append(read, path); return "panic: why", nil },
		}, zap.NewNop())
		sandbox, err := c.CreateSandbox(r.t.Context(), pod.SandboxRequest{Pod: thePod()})
		r.no(err)
		req := containerRequest(sandbox, 0)
		req.TerminationLog = "/root-dir/pods/uid-p/containers/c/0a1b2c3d"
		req.Container.TerminationMessagePath = "/dev/termination-log"
		req.Container.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
		req.Container.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 7}}}
		id, err := c.CreateContainer(r.t.Context(), req)
		r.no(err)
		r.no(c.StartContainer(r.t.Context(), id))
		look := func() pod.Container {
			o, err := c.Observe(r.t.Context(), pod.RefOf(thePod()))
			r.no(err)
			return o.Containers[0]
		}
		if k := look(); k.Message != "" || len(read) > 0 || k.PreStop == nil || k.PreStop.Sleep == nil || k.PreStop.Sleep.Seconds != 7 {
			t.Errorf("while it runs: %+v, read %v", k, read)
		}
		r.s.Kill(id, 3)
		time.Sleep(time.Minute)
		for range 3 {
			if k := look(); k.Message != "panic: why" || k.PreStop == nil {
				t.Errorf("ended: %+v", k)
			}
		}
		if want := []string{req.TerminationLog, "/logs/ns_p_uid-p/c/0.log"}; !slices.Equal(read, want) {
			t.Errorf("read %v, want %v", read, want)
		}
		r.no(errors.Join(c.Close(), conn.Close()))
	})
}

// An event of an end has the status with it: the runtime is not asked for that.
func TestTheEndThatAnEventTellsOf(t *testing.T) {
	bubble(t, fakecri.Config{}, func(r *rig) {
		ctx, cancel := context.WithCancel(r.t.Context())
		events := make(chan error)
		go func() { events <- r.c.Events(ctx, func(pod.Hint) {}) }()
		synctest.Wait()
		sandbox := r.sandbox()
		first := r.started(sandbox, 0)
		ended := func(id string) pod.Container {
			synctest.Wait()
			k, ok := r.c.Ended("uid-p", id)
			if ok != (k.State == pod.ContainerExited) {
				t.Errorf("%t of %+v", ok, k)
			}
			return k
		}
		if k := ended(first); k.ID != "" {
			t.Errorf("while it runs: %+v", k)
		}
		r.s.Kill(first, 1)
		if k := ended(first); k.ID != "" {
			t.Errorf("of a container that was never looked at: %+v", k)
		}
		r.observe()
		second, third := r.started(sandbox, 1), r.started(sandbox, 2)
		r.observe()
		r.s.Kill(second, 3)
		told := ended(second)
		if told.ExitCode != 3 || told.Name != "c" || told.Attempt != 1 || told.SandboxID != sandbox || told.Hash == "" {
			t.Errorf("told of %+v", told)
		}
		for _, other := range []string{"", first, third} {
			if k := ended(other); k.ID != "" {
				t.Errorf("asked for %q: %+v", other, k)
			}
		}
		time.Sleep(time.Minute) // the first one's status is settled
		var seen pod.Observation
		if n := r.spent(func() { seen = r.observe() }); n["container_status"] != 0 {
			t.Errorf("asked for %d statuses", n["container_status"])
		}
		if i := slices.IndexFunc(seen.Containers, func(k pod.Container) bool { return k.ID == second }); seen.Containers[i] != told {
			t.Errorf("seen %+v, told of %+v", seen.Containers[i], told)
		}
		if k := ended(second); k.ID != "" {
			t.Errorf("after the look: %+v", k)
		}
		cancel()
		if err := <-events; status.Code(err) != codes.Canceled {
			t.Error(err)
		}
	})
}
