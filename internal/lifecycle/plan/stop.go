package plan

import (
	"time"

	"nodeagent.dev/nodeagent/internal/pod"
)

// orphanGrace is what a pod gets that nobody wants and whose spec is lost.
const orphanGrace = time.Second

// deadlineSlack is how much later than wanted a running StopContainer may kill
// before it is worth asking the runtime again.
const deadlineSlack = 500 * time.Millisecond

// stopping ends the pod: containers, then sandboxes, then what is left on the
// node. What was being brought up is cancelled and waited for, so that nothing
// appears behind our back.
func stopping(in *pod.Input, p *Plan) {
	p.Stage = Terminating
	if in.Observed.At.IsZero() {
		p.wait(time.Time{}, time.Time{}, "the runtime to answer for the first time")
		return
	}
	defer p.waitForRunning(in)
	deadline := in.Now.Add(orphanGrace)
	if in.Stop != nil {
		deadline = in.Stop.Deadline
	}
	constructing := false
	for _, op := range sortedOperations(in) {
		late := op.Verb == pod.VerbStopContainer && op.Deadline.After(deadline.Add(deadlineSlack))
		if op.Constructive || late {
			p.Cancel = append(p.Cancel, op.Target)
		}
		constructing = constructing || op.Constructive
	}
	if stopLive(in, p, deadline) || constructing {
		return
	}
	if stopSandboxes(in, p) {
		return
	}
	p.Stage = Terminated
	takeDown(in, p, in.Stop == nil || in.Stop.Delete)
}

// windDown gives back what a pod no longer needs whose containers have all
// finished. The dead containers stay, for their logs.
func windDown(in *pod.Input, p *Plan) {
	p.Stage = Terminated
	if in.Observed.At.IsZero() {
		return
	}
	defer p.waitForRunning(in)
	if stopLive(in, p, in.Now.Add(pod.Grace(in.Pod))) || stopSandboxes(in, p) {
		return
	}
	removeOld(in, p)
	takeDown(in, p, false)
}

// terminal reports whether no container of the pod will ever run again.
func terminal(in *pod.Input) bool {
	if pod.Terminal(in.Prior.Phase) {
		return true
	}
	for i := range in.Pod.Spec.Containers {
		if !in.Finished(&in.Pod.Spec.Containers[i]) {
			return false
		}
	}
	return true
}

// stopLive stops every container that runs; true while one may still.
func stopLive(in *pod.Input, p *Plan, deadline time.Time) bool {
	live := false
	for i := range in.Observed.Containers {
		c := &in.Observed.Containers[i]
		if !c.Live() {
			continue
		}
		live = true
		p.do(in, StopContainer{ID: c.ID, Name: c.Name, Deadline: deadline}, "it must end by %s", deadline.UTC().Format(time.TimeOnly))
	}
	return live
}

// stopSandboxes stops one ready sandbox at a time; true while there is one.
func stopSandboxes(in *pod.Input, p *Plan) bool {
	up := in.Observed.ReadySandboxes()
	if len(up) == 0 {
		return false
	}
	p.do(in, StopSandbox{ID: up[0].ID}, "no container runs any more")
	return true
}

// takeDown removes what a pod without processes still has on the node, and with
// remove also what the runtime keeps of it. It ends in Done.
func takeDown(in *pod.Input, p *Plan, remove bool) {
	if !in.Removed.Volumes {
		p.do(in, RemoveVolumes{}, "nothing uses them any more")
	}
	if !in.Removed.Cgroup {
		p.do(in, RemoveCgroup{}, "nothing runs in it any more")
	}
	if !remove {
		return
	}
	if !in.Removed.Logs {
		p.do(in, RemoveLogs{}, "the pod is deleted")
	}
	if len(in.Observed.Sandboxes) > 0 {
		// The runtime removes a sandbox's containers with it.
		s := in.Observed.Sandboxes[len(in.Observed.Sandboxes)-1]
		p.do(in, RemoveSandbox{ID: s.ID}, "the pod is deleted")
		return
	}
	for i := range in.Observed.Containers {
		c := &in.Observed.Containers[i]
		p.do(in, RemoveContainer{ID: c.ID, Name: c.Name, Attempt: c.Attempt}, "the pod is deleted")
	}
	p.Done = len(in.Observed.Containers) == 0 && len(in.Running) == 0 &&
		in.Removed == pod.Removed{Volumes: true, Cgroup: true, Logs: true}
}
