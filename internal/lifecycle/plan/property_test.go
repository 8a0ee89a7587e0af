package plan_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// TestRandomHistories lets everything happen to a pod that can happen to one,
// in any order, and checks after each step that nothing was done that must
// never be (see world.bad), and at the end that the pod got where it had to.
// `make torture` runs many more of them (-rapid.checks).
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := randomPod(t)
		w := newWorld(p)
		var names []string
		for _, c := range pod.Containers(p) {
			names = append(names, c.Name)
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			happen(t, w, names)
			w.settle(nil)
			check(t, w)
		}
		rest(w)
		check(t, w)
		if w.stopped {
			checkStopped(t, w)
			return
		}
		if pod.Terminal(w.in.Prior.Phase) {
			return
		}
		if p.Spec.RestartPolicy == "Never" && len(w.in.Observed.Sandboxes) > 0 && !w.in.Observed.Sandboxes[0].Ready {
			return // the sandbox died, and Never forbids another
		}
		checkUp(t, w)
	})
}

// checkStopped checks what is left of a pod that was stopped.
func checkStopped(t *rapid.T, w *world) {
	deleted := w.in.Stop.Delete
	if deleted && (!w.last.Done || len(w.in.Observed.Containers)+len(w.in.Observed.Sandboxes) > 0) {
		t.Fatalf("deleted pod left something behind: %+v", w.in.Observed)
	}
	if w.in.Observed.AnyLive() || w.volumes || w.cgroup {
		t.Fatalf("stopped pod left something behind: volumes %t, cgroup %t, %+v", w.volumes, w.cgroup, w.in.Observed)
	}
	if !pod.Terminal(w.in.Prior.Phase) {
		t.Fatalf("stopped pod ended in phase %s", w.in.Prior.Phase)
	}
}

// checkUp checks that a pod that is at rest and not over has everything running
// that should run.
func checkUp(t *rapid.T, w *world) {
	for k, c := range pod.Containers(w.in.Pod) {
		i := w.in.Observed.Latest(c.Name)
		switch {
		case i != nil && i.State == pod.ContainerRunning:
			if k != pod.KindEphemeral && w.given[i.ID] != cpuOf(c) {
				t.Fatalf("%s has %d of the CPU, not %d: waits %+v", c.Name, w.given[i.ID], cpuOf(c), w.last.Waits)
			}
			if k == pod.KindSidecar && !w.in.Started(c, i) {
				return // nobody said that it has started, and nothing behind it may
			}
			if k == pod.KindInit {
				return // nobody ended it
			}
		case k == pod.KindEphemeral:
		case i == nil || pod.Restarts(w.in.Pod, k, c, i.ExitCode):
			t.Fatalf("%s is not running: %+v, waits %+v", c.Name, i, w.last.Waits)
		}
	}
}

// randomPod draws a pod with containers of all kinds, hooks, probes and rules.
func randomPod(t *rapid.T) *corev1.Pod {
	yes := func(what string) bool { return rapid.IntRange(0, 2).Draw(t, what) == 0 }
	policy := rapid.SampledFrom([]corev1.RestartPolicy{"Always", "OnFailure", "Never"}).Draw(t, "policy")
	restartToResize := rapid.Bool().Draw(t, "restart to resize")
	p := simplePod(policy, []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(t, "containers")]...)
	for _, n := range []string{"i", "j", "k"}[:rapid.IntRange(0, 3).Draw(t, "inits")] {
		c := corev1.Container{Name: n, Image: "img-" + n}
		if rapid.Bool().Draw(t, "sidecar") {
			c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
	}
	probe, handler := &corev1.Probe{}, &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{}}
	for k, c := range pod.Containers(p) {
		if k == pod.KindInit {
			continue
		}
		if yes("startup probe") {
			c.StartupProbe = probe
		}
		if yes("liveness probe") {
			c.LivenessProbe = probe
		}
		if yes("hooks") {
			c.Lifecycle = &corev1.Lifecycle{PostStart: handler, PreStop: handler}
		}
	}
	if yes("rules") {
		c := &p.Spec.Containers[0]
		c.RestartPolicy = new(corev1.ContainerRestartPolicyNever)
		c.RestartPolicyRules = []corev1.ContainerRestartRule{{
			Action:    rapid.SampledFrom([]corev1.ContainerRestartRuleAction{"Restart", "RestartAllContainers"}).Draw(t, "action"),
			ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: "In", Values: []int32{1}},
		}}
	}
	if yes("ephemeral") {
		e := corev1.EphemeralContainer{}
		e.Name, e.Image = "e", "img-e"
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{e}
	}
	if yes("deadline") {
		p.Spec.ActiveDeadlineSeconds = new(int64(100))
	}
	if restartToResize && len(p.Spec.Containers) > 1 {
		p.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.RestartContainer}}
	}
	return p
}

// happen draws one thing that happens to the pod, its node or its agent.
func happen(t *rapid.T, w *world, names []string) {
	name := rapid.SampledFrom(names).Draw(t, "container")
	target := rapid.SampledFrom([]pod.Target{pod.TargetSandbox, pod.TargetVolumes, pod.TargetSizes, pod.ImageTarget(name), pod.ContainerTarget(name)}).Draw(t, "target")
	switch rapid.SampledFrom([]string{"exit", "exit", "exit", "verdict", "verdict", "verdict", "hook fails", "edit", "resize", "resize", "hold", "finish", "fail", "lose", "tick", "long tick", "kill-agent", "abort", "sandbox", "dirty", "stop"}).Draw(t, "event") {
	case "exit":
		if c := w.in.Observed.Latest(name); c != nil {
			w.exit(c.ID, int32(rapid.IntRange(0, 1).Draw(t, "code")))
		}
	case "verdict":
		kind := rapid.SampledFrom([]pod.ProbeKind{pod.ProbeStartup, pod.ProbeStartup, pod.ProbeLiveness}).Draw(t, "kind")
		w.verdict(name, kind, rapid.SampledFrom([]pod.Verdict{pod.VerdictSuccess, pod.VerdictSuccess, pod.VerdictFailure}).Draw(t, "verdict"))
	case "hook fails":
		w.hookFails(name)
	case "edit":
		w.in.Hashes = map[string]string{name: fmt.Sprint("edit ", rapid.IntRange(0, 2).Draw(t, "hash"))}
	case "resize":
		w.resize(name, int64(rapid.IntRange(0, 2).Draw(t, "cpu")))
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
	case "abort":
		w.abort(name)
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
	for _, target := range plan.Probes(&w.in) {
		if c := w.in.Observed.Latest(target.Container.Name); c == nil || c.ID != target.ContainerID || c.State != pod.ContainerRunning {
			t.Fatalf("%s probe of %s, which does not run", target.Kind, target.Container.Name)
		}
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
