package plan

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// due is a container that should have a (new) instance now.
type due struct {
	spec       *corev1.Container
	latest     *pod.Container
	attempt    int
	crashCount int
}

// startable lists the containers that should be started now, in spec order, and
// stops those that run but must not go on as they are.
func startable(in *pod.Input, p *Plan) []due {
	var list []due
	for i := range in.Pod.Spec.Containers {
		c := &in.Pod.Spec.Containers[i]
		latest := in.Latest(c.Name)
		var again *pod.Restart
		if latest != nil && latest.State == pod.ContainerExited {
			if again = restart(in, p, c, latest); again == nil {
				continue
			}
		}
		if in.Busy(pod.ContainerTarget(c.Name)) || in.Finished(c) {
			continue
		}
		if latest == nil {
			list = append(list, due{spec: c, attempt: firstAttempt(in, c.Name)})
			continue
		}
		switch latest.State {
		case pod.ContainerRunning:
			replaceChanged(in, p, c, latest)
		case pod.ContainerUnknown:
			p.do(in, StopContainer{ID: latest.ID, Name: c.Name, Deadline: in.Now.Add(pod.Grace(in.Pod)),
				Why: `Container is in "unknown" state, try killing it before restart`}, "its state is unknown")
		case pod.ContainerCreated:
			list = append(list, due{spec: c, latest: latest, attempt: latest.Attempt, crashCount: max(latest.CrashCount, 0)})
		case pod.ContainerExited:
			list = append(list, due{spec: c, latest: latest, attempt: nextAttempt(in, latest), crashCount: again.CrashCount})
		}
	}
	return ready(in, p, list)
}

// replaceChanged stops a running container whose definition in the spec is not
// the one it was started from.
func replaceChanged(in *pod.Input, p *Plan, c *corev1.Container, latest *pod.Container) {
	want := in.Hashes[c.Name]
	if want == "" || latest.Hash == "" || want == latest.Hash {
		return
	}
	p.do(in, StopContainer{ID: latest.ID, Name: c.Name, Deadline: in.Now.Add(pod.Grace(in.Pod)),
		Why: fmt.Sprintf("Container %s definition changed, will be restarted", c.Name)}, "definition changed")
}

// restart returns the restart of a dead container that is due, or waits for it.
func restart(in *pod.Input, p *Plan, c *corev1.Container, latest *pod.Container) *pod.Restart {
	r := in.Restart(c)
	if r == nil || !in.Now.Before(r.At) {
		return r
	}
	p.wait(latest.FinishedAt, r.At, "container %s: back-off %s before restart %d (exit code %d)", c.Name, r.Delay, latest.Attempt+1, latest.ExitCode)
	p.Notes = append(p.Notes, Note{Container: c.Name, Warning: true, Reason: "BackOff",
		Message: fmt.Sprintf("Back-off restarting failed container %s in pod %s", c.Name, pod.LongName(in.Ref))})
	return nil
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
	case prior.LastTerminationState.Terminated != nil && prior.LastTerminationState.Terminated.Reason != "ContainerStatusUnknown":
		return int(prior.RestartCount) + 1
	}
	return int(prior.RestartCount)
}

// nextAttempt follows the dead instance and never goes back behind what was
// published.
func nextAttempt(in *pod.Input, latest *pod.Container) int {
	next := latest.Attempt + 1
	if prior := in.PriorContainer(latest.Name); prior != nil && int(prior.RestartCount) > latest.Attempt {
		next = int(prior.RestartCount) + 1
	}
	return next
}

// start starts the due containers in the sandbox. The first start of each
// container follows spec order: it waits until the one before it runs or has
// failed. A restart waits for nobody.
func start(in *pod.Input, p *Plan, sb *pod.Sandbox, list []due) {
	blocker := ""
	for i := range in.Pod.Spec.Containers {
		c := &in.Pod.Spec.Containers[i]
		d := find(list, c.Name)
		if d == nil {
			if firstStartRuns(in, c.Name, sb) {
				blocker = c.Name
			}
			continue
		}
		first := d.latest == nil || d.latest.SandboxID != sb.ID || d.latest.State == pod.ContainerCreated
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
	image, ok := in.Images[name]
	if !ok {
		_, failed := in.FailedImage(name)
		return !failed
	}
	a := StartContainer{Container: d.spec, SandboxID: sb.ID, Attempt: d.attempt, CrashCount: d.crashCount, Image: image}
	if l := d.latest; l != nil && l.State == pod.ContainerCreated {
		if l.SandboxID != sb.ID || (l.Hash != "" && in.Hashes[name] != "" && l.Hash != in.Hashes[name]) {
			p.do(in, RemoveContainer{ID: l.ID, Name: name, Attempt: l.Attempt}, "it was never started and no longer fits")
			return true
		}
		a.Created = l.ID
	}
	_, failed := in.FailedStart(name)
	p.do(in, a, "attempt %d", a.Attempt)
	return !failed
}

// firstStartRuns reports whether the container's first start in the sandbox is
// under way.
func firstStartRuns(in *pod.Input, name string, sb *pod.Sandbox) bool {
	op, busy := in.Running[pod.ContainerTarget(name)]
	if !busy || op.Verb != pod.VerbStartContainer {
		return false
	}
	latest := in.Observed.Latest(name)
	return latest == nil || latest.SandboxID != sb.ID || latest.State == pod.ContainerCreated
}

func find(list []due, name string) *due {
	for i := range list {
		if list[i].spec.Name == name {
			return &list[i]
		}
	}
	return nil
}
