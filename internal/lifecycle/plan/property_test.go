package plan_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"nodeagent.dev/nodeagent/internal/pod"
)

// TestRandomHistories lets everything happen to a pod that can happen to one,
// in any order, and checks after each step that nothing was done that must
// never be (see world.bad), and at the end that the pod got where it had to.
// `make torture` runs many more of them (-rapid.checks).
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := rapid.SampledFrom([]corev1.RestartPolicy{"Always", "OnFailure", "Never"}).Draw(t, "policy")
		names := []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(t, "containers")]
		w := newWorld(simplePod(policy, names...))
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			happen(t, w, names)
			w.settle(nil)
			check(t, w)
		}
		rest(w)
		check(t, w)
		if w.stopped {
			if !w.last.Done || len(w.in.Observed.Containers)+len(w.in.Observed.Sandboxes) > 0 || w.volumes || w.cgroup {
				t.Fatalf("stopped pod left something behind: %+v", w.in.Observed)
			}
			if !pod.Terminal(w.in.Prior.Phase) {
				t.Fatalf("stopped pod ended in phase %s", w.in.Prior.Phase)
			}
			return
		}
		for _, n := range names {
			c := w.in.Observed.Latest(n)
			if c == nil || (c.State != pod.ContainerRunning && pod.Restarts(w.in.Pod, pod.KindRegular, &w.in.Pod.Spec.Containers[slices.Index(names, n)], c.ExitCode)) {
				if policy == "Never" && len(w.in.Observed.Sandboxes) > 0 && !w.in.Observed.Sandboxes[0].Ready {
					continue // the sandbox died, and Never forbids another
				}
				if pod.Terminal(w.in.Prior.Phase) {
					continue
				}
				t.Fatalf("container %s is not running: %+v", n, c)
			}
		}
	})
}

// happen draws one thing that happens to the pod, its node or its agent.
func happen(t *rapid.T, w *world, names []string) {
	name := rapid.SampledFrom(names).Draw(t, "container")
	target := rapid.SampledFrom([]pod.Target{pod.TargetSandbox, pod.TargetVolumes, pod.ImageTarget(name), pod.ContainerTarget(name)}).Draw(t, "target")
	switch rapid.SampledFrom([]string{"exit", "exit", "hold", "finish", "fail", "lose", "tick", "long tick", "kill-agent", "sandbox", "dirty", "stop"}).Draw(t, "event") {
	case "exit":
		if c := w.in.Observed.Latest(name); c != nil {
			w.exit(c.ID, int32(rapid.IntRange(0, 1).Draw(t, "code")))
		}
	case "hold":
		w.hold[target] = true
	case "finish":
		w.end(target, nil)
	case "fail":
		w.end(target, fmt.Errorf("failed"))
	case "lose":
		w.lose(target)
	case "tick":
		w.in.Now = w.in.Now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds")) * time.Second)
	case "long tick":
		w.in.Now = w.in.Now.Add(11 * time.Minute)
	case "kill-agent":
		w.forget()
	case "sandbox":
		if len(w.in.Observed.Sandboxes) > 0 {
			w.sandbox(w.in.Observed.Sandboxes[0].ID, func(s *pod.Sandbox) { s.Ready = false })
		}
	case "dirty":
		w.failDirty()
	case "stop":
		if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
			w.stop(time.Duration(rapid.IntRange(1, 60).Draw(t, "grace")) * time.Second)
		}
	}
}

// rest lets everything under way end well and time pass until nothing happens.
func rest(w *world) {
	clear(w.hold)
	for range 100 {
		for t := range w.held {
			w.end(t, nil)
		}
		w.settle(nil)
		if len(w.held) == 0 && w.last.WakeAt.IsZero() {
			return
		}
		if w.last.WakeAt.After(w.in.Now) {
			w.in.Now = w.last.WakeAt
		}
	}
	w.bad("never came to rest: %+v", w.last)
}

func check(t *rapid.T, w *world) {
	if len(w.wrong) > 0 {
		t.Fatalf("%s\nplan: %+v\nobserved: %+v", w.wrong, w.last, w.in.Observed)
	}
	live := map[string]int{}
	for _, c := range w.in.Observed.Containers {
		if c.Live() {
			live[c.Name]++
		}
	}
	for n, k := range live {
		if k > 1 {
			t.Fatalf("%d live instances of %s", k, n)
		}
	}
	for _, r := range w.last.Reasons {
		if slices.Contains(w.last.Reasons, "") {
			t.Fatalf("an action without a reason: %q", r)
		}
	}
}
