package plan_test

import (
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// checkStart judges the decision to start a container by what was known then.
func (w *world) checkStart(action plan.Action) {
	a, is := action.(plan.StartContainer)
	if !is {
		return
	}
	name := a.Container.Name
	if w.stopped {
		w.bad("start of %s after the stop", name)
	}
	if !w.volumes {
		w.bad("start of %s without volumes", name)
	}
	if !w.up(a.SandboxID) {
		w.bad("start of %s in sandbox %s, which is not up", name, a.SandboxID)
	}
	for k, c := range pod.Containers(w.in.Pod) {
		if c.Name == name || k == pod.KindRegular || k == pod.KindEphemeral {
			break
		}
		if i := w.in.Observed.Latest(c.Name); !w.passed(k, c, i, a.SandboxID) && !w.reached(c.Name, name, a.SandboxID) {
			w.bad("start of %s before %s is through", name, c.Name)
		}
	}
}

// passed reports whether what comes before a container has been done.
func (w *world) passed(k pod.Kind, c *corev1.Container, i *pod.Container, sandbox string) bool {
	if i == nil || i.SandboxID != sandbox {
		return false
	}
	if k == pod.KindSidecar {
		return w.in.Started(c, i)
	}
	return i.State == pod.ContainerExited && i.ExitCode == 0
}

// reached reports whether something behind the first container, up to the
// second, has had an instance in the sandbox: then the first was through once.
func (w *world) reached(first, second, sandbox string) bool {
	behind := false
	for _, c := range pod.Containers(w.in.Pod) {
		for _, i := range w.in.Observed.Containers {
			if behind && i.Name == c.Name && i.SandboxID == sandbox && i.State != pod.ContainerCreated {
				return true
			}
		}
		behind = behind || c.Name == first
	}
	_, kind := pod.Find(w.in.Pod, second)
	return kind == pod.KindEphemeral
}

// checkStop judges the decision to stop a container.
func (w *world) checkStop(a plan.StopContainer) {
	c, k := pod.Find(w.in.Pod, a.Name)
	if c == nil {
		return
	}
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil && !w.hooked[a.ID] && a.Deadline.After(w.in.Now) {
		w.container(a.ID, func(i *pod.Container) {
			if i.State == pod.ContainerRunning {
				w.bad("stop of %s without its preStop", a.Name)
			}
		})
	}
	if k != pod.KindSidecar || !w.stopped || !w.in.Now.Before(a.Deadline) {
		return
	}
	behind := false
	for _, other := range pod.Containers(w.in.Pod) {
		if i := w.in.Observed.Latest(other.Name); behind && i != nil && i.Live() {
			w.bad("stop of sidecar %s while %s runs", a.Name, other.Name)
		}
		behind = behind || other.Name == a.Name
	}
}
