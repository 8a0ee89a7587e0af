package plan

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// due is a container that should have a (new) instance now.
type due struct {
	kind       pod.Kind
	spec       *corev1.Container
	latest     *pod.Container
	attempt    int
	crashCount int
}

// startable lists the containers that should be started now: ephemeral ones at
// any time, init containers and sidecars in their turn, and regular ones, in
// spec order, once those have been through.
func startable(in *pod.Input, p *Plan) []due {
	var list []due
	for k, c := range pod.Containers(in.Pod) {
		if k == pod.KindEphemeral && neverRan(in, c) {
			list = consider(in, p, list, k, c)
		}
	}
	list = initialize(in, p, list)
	if !in.Initialized() || anew(in) && len(in.Pod.Spec.InitContainers) > 0 {
		return ready(in, p, list)
	}
	for i := range in.Pod.Spec.Containers {
		list = consider(in, p, list, pod.KindRegular, &in.Pod.Spec.Containers[i])
	}
	return ready(in, p, list)
}

// neverRan reports whether an ephemeral container has yet to have its only run.
func neverRan(in *pod.Input, c *corev1.Container) bool {
	if latest := in.Observed.Latest(c.Name); latest != nil {
		return latest.State == pod.ContainerCreated
	}
	prior := in.PriorContainer(c.Name)
	return prior == nil || prior.State.Waiting != nil && prior.LastTerminationState.Terminated == nil
}

// anew reports whether the pod starts from its beginning, for want of a sandbox
// that its containers could be in.
func anew(in *pod.Input) bool {
	sb, _ := in.UsableSandbox()
	return sb == nil
}

// initialize lists what of the init containers and sidecars should be started
// now: the next one, if those before it let it, and the sidecars that ended.
// Those behind the next one are not looked at, and an init container that was
// passed is never run again in the same sandbox.
func initialize(in *pod.Input, p *Plan, list []due) []due {
	inits := in.Pod.Spec.InitContainers
	if len(inits) == 0 {
		return list
	}
	if anew(in) {
		return consider(in, p, list, pod.InitKind(&inits[0]), &inits[0])
	}
	reached := in.InitReached()
	for i := range inits[:min(reached+1, len(inits))] {
		c := &inits[i]
		k := pod.InitKind(c)
		inst := in.InSandbox(c.Name)
		switch {
		case k == pod.KindInit && i == reached && !in.InitPassed(c),
			k == pod.KindSidecar && (inst == nil || !inst.Live()):
			list = consider(in, p, list, k, c)
		}
	}
	if next := reached + 1; reached < 0 || next < len(inits) && in.InitPassed(&inits[reached]) {
		list = consider(in, p, list, pod.InitKind(&inits[next]), &inits[next])
	} else if reached < len(inits) && !in.InitPassed(&inits[reached]) {
		p.wait(time.Time{}, time.Time{}, "init container %s to %s", inits[reached].Name, passing(&inits[reached]))
	}
	return list
}

// passing is what an init container or sidecar has to do to let the next one
// start.
func passing(c *corev1.Container) string {
	if pod.InitKind(c) == pod.KindSidecar {
		return "be started"
	}
	return "end well"
}

// consider puts the container on the list if it should be started now.
func consider(in *pod.Input, p *Plan, list []due, k pod.Kind, c *corev1.Container) []due {
	latest := in.Latest(c.Name)
	// An instance in another sandbox does not count as this one's run, except for
	// regular containers: what has finished there is not to be repeated.
	elsewhere := latest != nil && latest.State == pod.ContainerExited && k != pod.KindRegular && (anew(in) || in.InSandbox(c.Name) == nil)
	var again pod.Restart
	if latest != nil && latest.State == pod.ContainerExited {
		switch r := in.Restart(k, c); {
		case r != nil:
			again = *r
		case elsewhere:
			again = in.Rerun(latest)
		default:
			return list
		}
		if in.Now.Before(again.At) {
			waitRestart(in, p, c, latest, again)
			return list
		}
	}
	if in.Busy(pod.ContainerTarget(c.Name)) || !elsewhere && in.Finished(k, c) {
		return list
	}
	if latest == nil {
		return append(list, due{kind: k, spec: c, attempt: firstAttempt(in, c.Name)})
	}
	switch latest.State {
	case pod.ContainerCreated:
		return append(list, due{kind: k, spec: c, latest: latest, attempt: latest.Attempt, crashCount: max(latest.CrashCount, 0)})
	case pod.ContainerExited:
		return append(list, due{kind: k, spec: c, latest: latest, attempt: nextAttempt(in, latest), crashCount: again.CrashCount})
	case pod.ContainerAborted:
		remove := RemoveContainer{ID: latest.ID, Name: c.Name, Attempt: latest.Attempt}
		if _, refused := in.Attempts[pod.Work{Target: remove.Target(), Verb: remove.Verb()}]; refused {
			return append(list, due{kind: k, spec: c, latest: latest, attempt: latest.Attempt + 1, crashCount: max(latest.CrashCount, 0)})
		}
		p.do(in, remove, "its start was given up with the agent that asked for it")
	case pod.ContainerRunning, pod.ContainerUnknown:
	}
	return list
}

// waitRestart waits for the restart of a dead container.
func waitRestart(in *pod.Input, p *Plan, c *corev1.Container, latest *pod.Container, r pod.Restart) {
	p.wait(latest.FinishedAt, r.At, "container %s: back-off %s before restart %d (exit code %d)", c.Name, r.Delay, latest.Attempt+1, latest.ExitCode)
	p.Notes = append(p.Notes, Note{Container: c.Name, Warning: true, Reason: "BackOff",
		Message: fmt.Sprintf("Back-off restarting failed container %s in pod %s", c.Name, pod.LongName(in.Ref))})
}

// ready leaves out the containers whose last start failed too recently, so that
// their images are not pulled before they can be used.
func ready(in *pod.Input, p *Plan, list []due) []due {
	kept := list[:0]
	for _, d := range list {
		at, failed := in.FailedStart(d.spec.Name)
		if failed && in.Now.Before(at.Retry()) {
			p.wait(at.At, at.Retry(), "container %s: %s: %s", d.spec.Name, at.Reason, at.Message)
			continue
		}
		kept = append(kept, d)
	}
	return kept
}

// firstAttempt is the attempt number for a container the runtime knows nothing
// of: it goes on from the restart count last published, so that a count never
// goes back.
func firstAttempt(in *pod.Input, name string) int {
	prior := in.PriorContainer(name)
	switch {
	case prior == nil:
		return 0
	case prior.State.Running != nil, prior.State.Terminated != nil:
		return int(prior.RestartCount) + 1
	case prior.LastTerminationState.Terminated != nil && !counted(prior.LastTerminationState.Terminated.Reason) && !pod.NeverRan(prior):
		return int(prior.RestartCount) + 1
	}
	return int(prior.RestartCount)
}

// counted reports whether the published restart count is the one of the next
// instance already: it is when the last one was seen to be gone, not to end.
func counted(reason string) bool {
	return reason == "ContainerStatusUnknown" || reason == "RestartingAllContainers"
}

// nextAttempt follows the dead instance and never goes back behind what was
// published.
func nextAttempt(in *pod.Input, latest *pod.Container) int {
	next := latest.Attempt + 1
	prior := in.PriorContainer(latest.Name)
	switch {
	case prior == nil || int(prior.RestartCount) <= latest.Attempt:
	case pod.NeverRan(prior), strings.HasSuffix(prior.ContainerID, "://"+latest.ID):
		next = int(prior.RestartCount) // it was counted, but came to nothing
	default:
		next = int(prior.RestartCount) + 1
	}
	return next
}

// start starts the due containers in the sandbox. The first start of each
// regular container follows spec order: it waits until the one before it runs,
// its postStart hook included, or has failed. A restart waits for nobody.
func start(in *pod.Input, p *Plan, sb *pod.Sandbox, list []due) {
	blocker := ""
	for k, c := range pod.Containers(in.Pod) {
		d := find(list, c.Name)
		if d == nil {
			if k == pod.KindRegular && firstStartRuns(in, c.Name, sb) {
				blocker = c.Name
			}
			continue
		}
		first := k == pod.KindRegular && (d.latest == nil || d.latest.SandboxID != sb.ID || d.latest.State == pod.ContainerCreated)
		if first && blocker != "" {
			p.Waits = append(p.Waits, pod.Wait{What: fmt.Sprintf("container %s: container %s comes first", c.Name, blocker)})
			continue
		}
		if startOne(in, p, sb, d) && first {
			blocker = c.Name
		}
	}
}

// startOne plans the start of one container and reports whether those after it
// have to wait for it.
func startOne(in *pod.Input, p *Plan, sb *pod.Sandbox, d *due) (blocks bool) {
	name := d.spec.Name
	a := StartContainer{Container: d.spec, SandboxID: sb.ID, SandboxAttempt: sb.Attempt, Attempt: d.attempt, CrashCount: d.crashCount}
	if !a.takeImages(in) {
		_, _, failed := in.FailedImage(d.spec)
		return !failed
	}
	if l := d.latest; l != nil && l.State == pod.ContainerCreated {
		if l.SandboxID != sb.ID || (l.Hash != "" && in.Hashes[name] != "" && l.Hash != in.Hashes[name]) {
			p.do(in, RemoveContainer{ID: l.ID, Name: name, Attempt: l.Attempt}, "it was never started and no longer fits")
			return true
		}
		a.Created = l.ID
	}
	if d.kind == pod.KindEphemeral {
		a.Joins, a.JoinID = joins(in, name)
	}
	_, failed := in.FailedStart(name)
	p.do(in, a, "attempt %d", a.Attempt)
	return !failed
}

// takeImages gives the start the images it needs; false when one is missing.
func (a *StartContainer) takeImages(in *pod.Input) bool {
	for _, use := range pod.ImageUses(in.Pod, a.Container) {
		image, ok := in.Images[use.Key]
		if !ok {
			return false
		}
		volume, isVolume := use.Volume()
		if !isVolume {
			a.Image = image
			continue
		}
		if a.VolumeImages == nil {
			a.VolumeImages = map[string]pod.Image{}
		}
		a.VolumeImages[volume] = image
	}
	return true
}

// joins returns the container whose processes an ephemeral one is to see, and
// its instance; empty when it asks for none, or there is none.
func joins(in *pod.Input, name string) (target, id string) {
	for i := range in.Pod.Spec.EphemeralContainers {
		if e := &in.Pod.Spec.EphemeralContainers[i]; e.Name == name && e.TargetContainerName != "" {
			if t := in.InSandbox(e.TargetContainerName); t != nil {
				id = t.ID
			}
			return e.TargetContainerName, id
		}
	}
	return "", ""
}

// firstStartRuns reports whether the container's first start in the sandbox is
// under way.
func firstStartRuns(in *pod.Input, name string, sb *pod.Sandbox) bool {
	op, busy := in.Running[pod.ContainerTarget(name)]
	if !busy || op.Verb != pod.VerbStartContainer {
		return false
	}
	before := 0
	for i := range in.Observed.Containers {
		if c := &in.Observed.Containers[i]; c.Name == name && c.SandboxID == sb.ID && c.State == pod.ContainerExited {
			before++
		}
	}
	return before == 0
}

func find(list []due, name string) *due {
	for i := range list {
		if list[i].spec.Name == name {
			return &list[i]
		}
	}
	return nil
}
