package lifecycle

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// withHooks gives the first container both hooks.
func withHooks(p *corev1.Pod) *corev1.Pod {
	handler := func() *corev1.LifecycleHandler { return &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{}} }
	p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: handler(), PreStop: handler()}
	return p
}

// withProbes gives the first container all probes.
func withProbes(p *corev1.Pod) *corev1.Pod {
	c := &p.Spec.Containers[0]
	c.StartupProbe, c.LivenessProbe, c.ReadinessProbe = &corev1.Probe{}, &corev1.Probe{}, &corev1.Probe{}
	return p
}

func (w *world) wantHooks(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, c := range w.called("Hook") {
		got = append(got, c.what)
	}
	if !slices.Equal(got, want) {
		t.Errorf("hooks run: %q, want %q", got, want)
	}
}

func TestVerdictsMoveThePodWithoutAskingTheRuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := withProbes(newPod("p", "c"))
		w.want(p)
		pass(time.Second)
		if got := w.probed("p"); got != "Startup" {
			t.Fatalf("probed at first: %s", got)
		}
		looks := len(w.called("Observe"))
		w.answer("p", pod.ProbeStartup, pod.VerdictSuccess)
		pass(0)
		if got := w.probed("p"); got != "Liveness Readiness" {
			t.Fatalf("probed once started: %s", got)
		}
		w.answer("p", pod.ProbeReadiness, pod.VerdictSuccess)
		pass(0)
		if st := w.status("p"); !ready(&st) {
			t.Errorf("not ready: %+v", st.Conditions)
		}
		w.answer("p", pod.ProbeReadiness, pod.VerdictFailure)
		pass(0)
		if st := w.status("p"); ready(&st) {
			t.Error("still ready")
		}
		if n := len(w.called("Observe")) - looks; n != 0 {
			t.Errorf("the runtime was asked %d times", n)
		}
		w.answer("p", pod.ProbeLiveness, pod.VerdictFailure)
		pass(0)
		if got := w.container("p", "c"); got != "running 1" {
			t.Errorf("after the liveness probe failed: %s", got)
		}
		if got := w.probed("p"); got != "Startup" {
			t.Errorf("the new instance is probed by %s", got)
		}
	})
}

func TestProbesEndWithTheAgentAndThePod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := withProbes(newPod("p", "c"))
		w.want(p)
		pass(time.Second)
		w.want(deleted(p, 5))
		pass(time.Minute)
		if got := w.probed("p"); got != "" {
			t.Errorf("a pod that is gone is probed by %s", got)
		}
		w.want(withProbes(newPod("q", "c")))
		pass(time.Second)
		w.stop()
		<-w.ended
		if got := w.probed("q"); got != "" {
			t.Errorf("without an agent there are probes: %s", got)
		}
	})
}

func TestHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := withHooks(newPod("p", "c"))
		w.want(p)
		pass(time.Second)
		w.wantHooks(t, "postStart c")
		w.want(deleted(p, 30))
		pass(time.Minute)
		w.wantHooks(t, "postStart c", "preStop c")
		if !w.isFinished("p") {
			t.Error("the pod is not gone")
		}
	})
}

func TestContainerWhosePostStartFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setRule(func(_ context.Context, verb, what string) error {
			if verb == "Hook" && what == "postStart c" {
				return errors.New("the hook said no")
			}
			return nil
		})
		p := withHooks(newPod("p", "c"))
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		w.want(p)
		pass(time.Minute)
		w.wantHooks(t, "postStart c", "preStop c")
		if st := w.status("p"); st.Phase != corev1.PodFailed {
			t.Errorf("phase %s, container %s", st.Phase, w.container("p", "c"))
		}
	})
}

func TestHungPreStopIsGivenUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setRule(func(ctx context.Context, verb, what string) error {
			if verb == "Hook" && what == "preStop c" {
				return hang(ctx)
			}
			return nil
		})
		p := withHooks(newPod("p", "c"))
		w.want(p)
		pass(time.Second)
		begin := time.Now()
		w.want(deleted(p, 30))
		pass(10 * time.Second)
		w.want(deleted(p, 5)) // somebody has less patience
		pass(time.Minute)
		w.wantHooks(t, "postStart c", "preStop c")
		stops := w.called("StopContainer")
		if len(stops) != 1 || stops[0].at.Sub(begin) != 15*time.Second || stops[0].what != "c2 2s" {
			t.Errorf("stopped: %+v, %s after the deletion", stops, stops[0].at.Sub(begin))
		}
	})
}

func TestPreStopIsNotRepeatedWhenTheStopFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		failures := 2
		w.setRule(func(_ context.Context, verb, _ string) error {
			if verb == "StopContainer" && failures > 0 {
				failures--
				return errors.New("the runtime is busy")
			}
			return nil
		})
		p := withHooks(newPod("p", "c"))
		w.want(p)
		pass(time.Second)
		w.want(deleted(p, 30))
		pass(time.Minute)
		w.wantHooks(t, "postStart c", "preStop c")
		if !w.isFinished("p") {
			t.Error("the pod is not gone")
		}
	})
}

func TestActiveDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := newPod("p", "c")
		seconds := int64(100)
		p.Spec.ActiveDeadlineSeconds = &seconds
		w.want(p)
		pass(99 * time.Second)
		if st := w.status("p"); st.Phase != corev1.PodRunning {
			t.Fatalf("phase %s before the deadline", st.Phase)
		}
		pass(2 * time.Second)
		if st := w.status("p"); st.Phase != corev1.PodFailed || st.Reason != "DeadlineExceeded" {
			t.Errorf("after the deadline: %s, reason %q", st.Phase, st.Reason)
		}
		if len(w.called("RemoveContainer"))+len(w.called("RemoveSandbox")) > 0 {
			t.Error("the containers are gone, and their logs")
		}
	})
}

func TestNobodyWaitsForARuntimeThatKeepsDeadThings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stuck := true
		w.setRule(func(_ context.Context, verb, _ string) error {
			if verb == "RemoveSandbox" && stuck {
				return errors.New("cannot delete running task")
			}
			return nil
		})
		p := newPod("p", "c")
		w.want(p)
		pass(time.Second)
		w.want(deleted(p, 30))
		pass(time.Second)
		if !w.isFinished("p") {
			t.Error("the pod's object stays although nothing of it runs")
		}
		stuck = false
		w.want()
		pass(time.Minute)
		if n := len(w.sup.Views()); n != 0 || len(w.sandboxes) != 0 {
			t.Errorf("%d pods, %d sandboxes are left", n, len(w.sandboxes))
		}
	})
}
