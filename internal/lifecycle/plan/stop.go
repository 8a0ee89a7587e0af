package plan

import (
	"slices"
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
		noteStop(in, p)
	}
	for _, op := range sortedOperations(in) {
		late := op.Verb == pod.VerbStopContainer && op.Deadline.After(deadline.Add(deadlineSlack))
		if op.Constructive || late {
			p.Cancel = append(p.Cancel, op.Target)
		}
	}
	abandonHooks(in, p)
	if stopLive(in, p, deadline) || constructing(in) {
		return
	}
	if stopSandboxes(in, p) {
		return
	}
	p.Stage = Terminated
	takeDown(in, p, in.Stop == nil || in.Stop.Delete)
}

// noteStop tells users of a stop that the pod itself is the cause of.
func noteStop(in *pod.Input, p *Plan) {
	if in.Stop.Event != "" {
		p.Notes = append(p.Notes, Note{Warning: true, Reason: in.Stop.Reason, Message: in.Stop.Event})
	}
	if in.Stop.Reason == deadlineExceeded {
		p.Notes = append(p.Notes, Note{Reason: in.Stop.Reason, Message: in.Stop.Message})
	}
}

// windDown gives back what a pod no longer needs whose containers have all
// finished. The dead containers stay, for their logs.
func windDown(in *pod.Input, p *Plan) {
	p.Stage = Terminated
	if in.Observed.At.IsZero() {
		return
	}
	defer p.waitForRunning(in)
	abandonHooks(in, p)
	if in.Observed.AnyLive() || constructing(in) {
		p.Stage = Terminating
		if p.EndBy = in.EndBy; p.EndBy.IsZero() {
			p.EndBy = in.Now.Add(pod.Grace(in.Pod))
		}
		for _, op := range sortedOperations(in) {
			if op.Constructive {
				p.Cancel = append(p.Cancel, op.Target)
			}
		}
		stopLive(in, p, p.EndBy)
		return
	}
	if stopSandboxes(in, p) {
		return
	}
	removeOld(in, p)
	takeDown(in, p, false)
}

// stopLive stops every container that runs; true while one may still. All
// preStop hooks run at once. A sidecar is stopped when every container started
// after it has ended, or when the time is up (KEP-753).
func stopLive(in *pod.Input, p *Plan, deadline time.Time) bool {
	live := 0
	var sidecars []*pod.Container // in the order in which they were started
	if in.Pod != nil {
		for i := range in.Pod.Spec.InitContainers {
			if c := &in.Pod.Spec.InitContainers[i]; pod.InitKind(c) == pod.KindSidecar {
				sidecars = append(sidecars, liveInstances(in, c.Name)...)
			}
		}
	}
	for i := range in.Observed.Containers {
		c := &in.Observed.Containers[i]
		if c.Live() && !slices.Contains(sidecars, c) {
			live++
			end(in, p, c, Ending{Deadline: deadline})
		}
	}
	for _, c := range slices.Backward(sidecars) {
		_, hook := preStop(in, c)
		pending := hook != nil && !in.Instances[c.ID].PreStopped
		if live > 0 && !pending && in.Now.Before(deadline) {
			p.wait(time.Time{}, deadline, "sidecar %s: the containers started after it end first", c.Name)
		} else {
			end(in, p, c, Ending{Deadline: deadline})
		}
		live++
	}
	return live > 0
}

// liveInstances returns the instances of a container that may have a process.
func liveInstances(in *pod.Input, name string) (live []*pod.Container) {
	for i := range in.Observed.Containers {
		if c := &in.Observed.Containers[i]; c.Name == name && c.Live() {
			live = append(live, c)
		}
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

// failed reports whether one of the actions was tried in vain.
func failed(in *pod.Input, actions ...Action) bool {
	return slices.ContainsFunc(actions, func(a Action) bool {
		_, failed := in.Attempts[pod.Work{Target: a.Target(), Verb: a.Verb()}]
		return failed
	})
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
	all := pod.Removed{Volumes: true, Cgroup: true, Logs: true}
	p.Released = in.Removed == all && (in.Stop == nil || in.Ended())
	if in.Removed != all && !failed(in, RemoveVolumes{}, RemoveCgroup{}, RemoveLogs{}) {
		return // It takes the runtime longer than all else, and nobody waits for it.
	}
	if len(in.Observed.Sandboxes) > 0 {
		// The runtime removes a sandbox's containers with it.
		s := in.Observed.Sandboxes[len(in.Observed.Sandboxes)-1]
		// For the end of a static pod, or of one that nobody knows, the next of its name waits.
		p.do(in, RemoveSandbox{ID: s.ID, Late: p.Released && !in.Spec.Static()}, "the pod is deleted")
		return
	}
	for i := range in.Observed.Containers {
		c := &in.Observed.Containers[i]
		p.do(in, RemoveContainer{ID: c.ID, Name: c.Name, Attempt: c.Attempt}, "the pod is deleted")
	}
	p.Done = len(in.Observed.Containers) == 0 && len(in.Running) == 0 && in.Removed == all
}
