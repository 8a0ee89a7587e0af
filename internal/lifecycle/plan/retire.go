package plan

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// retire stops the containers that run but must not go on as they are: their
// definition changed, a probe found them ill, a hook failed, or nobody knows
// what they do. A stop that was begun is carried through.
func retire(in *pod.Input, p *Plan) {
	for k, c := range pod.Containers(in.Pod) {
		i := in.Latest(c.Name)
		if i == nil || !i.Live() || k == pod.KindEphemeral {
			continue
		}
		grace, why, replace := sentence(in, k, c, i)
		if why == "" && in.Instances[i.ID].StopBy.IsZero() {
			continue
		}
		end(in, p, i, Ending{Deadline: in.Now.Add(grace), Why: why, Replace: replace})
	}
}

// sentence is why a live instance has to end, within what time, and whether it
// is followed by another one whatever its exit code; empty: it may go on. The
// words are those of the kubelet's Killing events.
func sentence(in *pod.Input, k pod.Kind, c *corev1.Container, i *pod.Container) (grace time.Duration, why string, replace bool) {
	grace = pod.Grace(in.Pod)
	known := in.Instances[i.ID]
	if i.State == pod.ContainerUnknown {
		return grace, fmt.Sprintf("%s is in %q state, try killing it before restart", title(k, ""), "unknown"), false
	}
	want := in.Hashes[c.Name]
	replace = pod.RestartsAfterKill(in.Pod, k, c)
	switch {
	case known.HookFailed:
		return grace, "FailedPostStartHook", false
	case k == pod.KindInit:
		return 0, "", false
	case want != "" && i.Hash != "" && want != i.Hash && (k != pod.KindSidecar || in.Started(c, i)):
		why, replace = "definition changed", true
	case restartsToResize(in, k, c):
		return grace, fmt.Sprintf("Container %s resize requires restart", c.Name), true
	case known.Liveness == pod.VerdictFailure:
		grace, why = probeGrace(c.LivenessProbe, grace), "failed liveness probe"
	case known.Startup == pod.VerdictFailure:
		grace, why = probeGrace(c.StartupProbe, grace), "failed startup probe"
	default:
		return 0, "", false
	}
	why = title(k, c.Name) + " " + why
	if replace && k == pod.KindRegular {
		why += ", will be restarted"
	}
	return grace, why, replace
}

// title names a container at the beginning of a sentence.
func title(k pod.Kind, name string) string {
	word := "Container"
	if k == pod.KindInit || k == pod.KindSidecar {
		word = "Init container"
	}
	if name == "" {
		return word
	}
	return word + " " + name
}

// probeGrace is the probe's own grace, where it has one (KEP-2238).
func probeGrace(probe *corev1.Probe, grace time.Duration) time.Duration {
	if probe == nil || probe.TerminationGracePeriodSeconds == nil {
		return grace
	}
	return time.Duration(*probe.TerminationGracePeriodSeconds) * time.Second
}

// end takes the next step to the end of one instance: its preStop hook, if it
// has one and there is time, then the stop. The deadline of a stop that was
// begun only comes nearer.
func end(in *pod.Input, p *Plan, i *pod.Container, e Ending) {
	known := in.Instances[i.ID]
	e.ID, e.Name = i.ID, i.Name
	if !known.StopBy.IsZero() && known.StopBy.Before(e.Deadline) {
		e.Deadline = known.StopBy
	}
	c, handler := preStop(in, i)
	if handler != nil && !known.PreStopped && e.Deadline.After(in.Now) {
		p.do(in, RunPreStop{Ending: e, Container: c, Handler: handler}, "it must end by %s", clock(e.Deadline))
		return
	}
	p.do(in, StopContainer{Ending: e, Quiet: known.PreStopped}, "it must end by %s", clock(e.Deadline))
}

func clock(t time.Time) string { return t.UTC().Format(time.TimeOnly) }

// preStop returns the hook to run before an instance is stopped, or nil.
func preStop(in *pod.Input, i *pod.Container) (*corev1.Container, *corev1.LifecycleHandler) {
	if i.State != pod.ContainerRunning {
		return nil, nil
	}
	c, _ := pod.Find(in.Pod, i.Name)
	switch {
	case c == nil: // its spec is lost, but the runtime has kept the hook
		return &corev1.Container{Name: i.Name}, i.PreStop
	case c.Lifecycle == nil:
		return c, nil
	}
	return c, c.Lifecycle.PreStop
}

// hookGrace is how long a postStart hook may go on after its container ended.
const hookGrace = time.Second

// abandonHooks gives up the hooks whose container has ended, and the preStop
// hooks that are out of time. A runtime may never answer for a dead container.
func abandonHooks(in *pod.Input, p *Plan) {
	for _, op := range sortedOperations(in) {
		name, _ := op.Target.Container()
		i := in.Observed.Latest(name)
		var due time.Time
		switch {
		case op.Verb == pod.VerbRunPreStop && (i == nil || !i.Live()):
			due = in.Now
		case op.Verb == pod.VerbRunPreStop:
			due = op.Deadline
			if in.Stop != nil && in.Stop.Deadline.Before(due) {
				due = in.Stop.Deadline
			}
		case op.Verb == pod.VerbStartContainer && i != nil && i.State == pod.ContainerExited && i.Attempt >= op.Attempt && hasPostStart(in, name):
			due = i.FinishedAt.Add(hookGrace)
		default:
			continue
		}
		if in.Now.Before(due) {
			p.wake(due)
		} else {
			p.Cancel = append(p.Cancel, op.Target)
		}
	}
}

func hasPostStart(in *pod.Input, name string) bool {
	c, _ := pod.Find(in.Pod, name)
	return c != nil && c.Lifecycle != nil && c.Lifecycle.PostStart != nil
}

// clearAll takes every instance of every container away, so that the pod starts
// anew in its sandbox. There is no grace and no hook for it, logs stay, and the
// instance whose exit asked for it goes last: if the agent dies in between, the
// next one still sees why.
func clearAll(in *pod.Input, p *Plan) {
	var last []*pod.Container
	left := false
	for i := range in.Observed.Containers {
		inst := &in.Observed.Containers[i]
		c, k := pod.Find(in.Pod, inst.Name)
		switch {
		case c == nil || k == pod.KindEphemeral:
			continue
		case pod.RestartsAll(c, inst):
			last = append(last, inst)
			continue
		}
		left = true
		if inst.Live() {
			p.do(in, StopContainer{Ending: Ending{ID: inst.ID, Name: inst.Name, Deadline: in.Now, Why: "killing"}}, "all containers are restarted")
		} else {
			p.do(in, RemoveContainer{ID: inst.ID, Name: inst.Name, Attempt: inst.Attempt, KeepLog: true}, "all containers are restarted")
		}
	}
	if left || constructing(in) {
		return
	}
	for _, inst := range last {
		p.do(in, RemoveContainer{ID: inst.ID, Name: inst.Name, Attempt: inst.Attempt, KeepLog: true}, "all containers are restarted")
	}
}

// constructing reports whether something is being brought up.
func constructing(in *pod.Input) bool {
	for _, op := range in.Running {
		if op.Constructive {
			return true
		}
	}
	return false
}
