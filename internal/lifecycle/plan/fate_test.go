package plan_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// doom notes that an instance's end was begun, as the worker does.
func (w *world) doom(e plan.Ending, hook bool) time.Time {
	if w.stopped && e.Deadline.After(w.minDeadline.Add(time.Second)) {
		w.bad("grace of %s grew to %s", e.Name, e.Deadline)
	}
	i := w.in.Instances[e.ID]
	i.StopBy, i.Replace, i.PreStopped = e.Deadline, i.Replace || e.Replace, i.PreStopped || hook
	w.in.Instances[e.ID] = i
	return e.Deadline
}

// verdict is a probe's, of the newest instance of a container.
func (w *world) verdict(name string, kind pod.ProbeKind, v pod.Verdict) {
	for _, t := range plan.Probes(&w.in) {
		if t.Container.Name == name && t.Kind == kind {
			w.in.Instances[t.ContainerID] = w.in.Instances[t.ContainerID].With(kind, v)
		}
	}
}

// hookFails ends a held start of a container whose postStart hook failed.
func (w *world) hookFails(name string) {
	t := pod.ContainerTarget(name)
	a, ok := w.held[t].(plan.StartContainer)
	if !ok || a.Container.Lifecycle == nil || a.Container.Lifecycle.PostStart == nil {
		return
	}
	w.effect(a)
	w.end(t, fmt.Errorf("PostStart failed"))
	if c := w.in.Observed.Latest(name); c != nil && c.State == pod.ContainerRunning {
		i := w.in.Instances[c.ID]
		i.HookFailed = true
		w.in.Instances[c.ID] = i
	}
}

// abort kills the agent while it starts a container, and the runtime gives the
// start up with it.
func (w *world) abort(name string) {
	t := pod.ContainerTarget(name)
	if a, ok := w.held[t].(plan.StartContainer); ok && a.Created == "" && w.up(a.SandboxID) {
		delete(w.held, t)
		w.in.Observed.Containers = append(w.in.Observed.Containers, pod.Container{
			ID: w.id("c"), Name: name, SandboxID: a.SandboxID, Attempt: a.Attempt, CrashCount: a.CrashCount,
			State: pod.ContainerAborted, CreatedAt: w.in.Now, FinishedAt: w.in.Now, ExitCode: 128, Reason: "StartError"})
	}
	w.forget()
}

// Only a removal that nobody waits for may come late: the next static pod of the same
// name begins after it, and what is left of a failure may be its cause.
func TestRemovalsThatMayComeLate(t *testing.T) {
	all := pod.Removed{Volumes: true, Cgroup: true, Logs: true}
	failed := map[pod.Work]pod.Attempt{{Target: pod.TargetVolumes, Verb: plan.RemoveVolumes{}.Verb()}: {Count: 1}}
	for name, c := range map[string]struct {
		source   pod.SourceName
		removed  pod.Removed
		attempts map[pod.Work]pod.Attempt
		late     bool
	}{
		"of the API server":           {pod.SourceAPI, all, nil, true},
		"static":                      {pod.SourceFile, all, nil, false},
		"unknown":                     {"", all, nil, false},
		"volumes cannot be taken off": {pod.SourceAPI, pod.Removed{Cgroup: true, Logs: true}, failed, false},
	} {
		now := time.Unix(1000, 0)
		in := &pod.Input{
			Now: now, Spec: pod.Spec{Pod: &corev1.Pod{}, Source: c.source}, Stop: &pod.Stop{Deadline: now, Delete: true},
			Removed: c.removed, Attempts: c.attempts,
			Observed: pod.Observation{At: now, Sandboxes: []pod.Sandbox{{ID: "s"}}},
		}
		p, want := plan.Next(in), plan.RemoveSandbox{ID: "s", Late: c.late}
		if !slices.Contains(p.Actions, plan.Action(want)) {
			t.Errorf("%s: %+v, want %+v among them", name, p.Actions, want)
		}
	}
}
