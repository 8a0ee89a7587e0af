package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

var sandboxChanged = Note{Reason: "SandboxChanged", Message: "Pod sandbox changed, it will be killed and re-created."}

// syncing brings the pod up and keeps it up.
func syncing(in *pod.Input, p *Plan) {
	if in.Observed.At.IsZero() {
		p.wait(time.Time{}, time.Time{}, "the runtime to answer for the first time")
		return
	}
	defer p.waitForRunning(in)
	if missing := pod.Unsupported(in.Pod); missing != "" {
		p.wait(time.Time{}, time.Time{}, "%s", missing)
		p.Notes = append(p.Notes, Note{Warning: true, Reason: "FailedSync", Message: missing})
		return
	}
	bringUp(in, p)
	waitForProbes(in, p)
	removeOld(in, p) // last: whatever brings the pod up goes first
}

// bringUp takes the next steps to a pod whose containers all run.
func bringUp(in *pod.Input, p *Plan) {
	abandonHooks(in, p)
	if in.RestartingAll() && !in.Cleared() {
		clearAll(in, p)
		return
	}
	retire(in, p)
	list := startable(in, p)
	wanted := slices.ContainsFunc(list, func(d due) bool { return d.kind != pod.KindEphemeral })
	sb := sandbox(in, p, wanted)
	if in.Volumes == nil && (len(list) > 0 || in.Observed.AnyLive()) {
		p.do(in, MountVolumes{}, "volumes are not known to be set up")
	}
	for _, c := range list {
		for _, use := range pod.ImageUses(in.Pod, c.spec) {
			if _, ok := in.Images[use.Key]; !ok {
				noteImage(in, p, c.spec.Name, use)
				p.do(in, EnsureImage{Use: use}, "container %s is to be started", c.spec.Name)
			}
		}
	}
	if sb == nil || in.Volumes == nil {
		return
	}
	resize(in, p, sb)
	start(in, p, sb, list)
}

// waitForProbes says which running containers have yet to pass a probe.
func waitForProbes(in *pod.Input, p *Plan) {
	for k, c := range pod.Containers(in.Pod) {
		i := in.Latest(c.Name)
		switch {
		case k == pod.KindInit || k == pod.KindEphemeral || i == nil || i.State != pod.ContainerRunning || in.InHook(c):
		case !in.Started(c, i):
			p.wait(i.StartedAt, time.Time{}, "container %s: its startup probe to succeed", c.Name)
		case !in.Ready(c, i):
			p.wait(i.StartedAt, time.Time{}, "container %s: its readiness probe to succeed", c.Name)
		}
	}
}

// noteImage tells that an image cannot be had and is tried again later.
func noteImage(in *pod.Input, p *Plan, container string, use pod.ImageUse) {
	at, failed := in.Attempts[pod.Work{Target: pod.ImageTarget(use.Key), Verb: pod.VerbEnsureImage}]
	if !failed || !pod.PullFailed(at.Reason) || !in.Now.Before(at.PullRetry()) {
		return
	}
	p.Notes = append(p.Notes,
		Note{Container: container, Reason: "BackOff", Message: fmt.Sprintf("Back-off pulling image %q", use.Container.Image)},
		Note{Container: container, Warning: true, Reason: "Failed", Message: "Error: ImagePullBackOff"})
}

// sandbox returns the sandbox to run containers in, or plans the way to one:
// whatever still runs in an unusable sandbox is stopped first. The rules and
// their order are those of the kubelet's PodSandboxChanged.
func sandbox(in *pod.Input, p *Plan, wanted bool) *pod.Sandbox {
	sb, why := in.UsableSandbox()
	if sb != nil {
		return sb
	}
	if stopLive(in, p, in.Now.Add(pod.Grace(in.Pod))) {
		return nil // an instance whose stop was begun keeps its deadline
	}
	for _, s := range in.Observed.ReadySandboxes() {
		p.do(in, StopSandbox{ID: s.ID}, "%s", why)
		p.Notes = append(p.Notes, sandboxChanged)
		return nil
	}
	if !wanted {
		return nil
	}
	attempt := uint32(0)
	if len(in.Observed.Sandboxes) > 0 {
		attempt = in.Observed.Sandboxes[0].Attempt + 1
		if in.Pod.Spec.RestartPolicy == corev1.RestartPolicyNever && len(in.Observed.Containers) > 0 {
			p.wait(time.Time{}, time.Time{}, "nothing: the sandbox is gone and restartPolicy Never forbids another")
			return nil
		}
		p.Notes = append(p.Notes, sandboxChanged)
	}
	if in.Node.NetworkProblem != "" && !in.HostNetwork() {
		msg := "network is not ready: " + in.Node.NetworkProblem
		p.Notes = append(p.Notes, Note{Warning: true, Reason: "NetworkNotReady", Message: msg})
		p.Waits = append(p.Waits, pod.Wait{What: msg})
		return nil
	}
	p.do(in, CreateSandbox{Attempt: attempt}, "%s", why)
	return nil
}

// removeOld forgets all dead instances of a container but the newest, and dead
// sandboxes that hold none.
func removeOld(in *pod.Input, p *Plan) {
	dead := map[string]int{}
	used := map[string]bool{}
	for i := range in.Observed.Containers {
		c := &in.Observed.Containers[i]
		if c.State == pod.ContainerExited {
			dead[c.Name]++
		}
		if c.State == pod.ContainerExited && dead[c.Name] > 1 || c.State == pod.ContainerAborted && in.Observed.Latest(c.Name) != c {
			p.do(in, RemoveContainer{ID: c.ID, Name: c.Name, Attempt: c.Attempt}, "attempt %d is older than the last termination", c.Attempt)
			continue
		}
		used[c.SandboxID] = true
	}
	for i, s := range in.Observed.Sandboxes {
		if i > 0 && !s.Ready && !used[s.ID] {
			p.do(in, RemoveSandbox{ID: s.ID}, "attempt %d holds no container any more", s.Attempt)
			return
		}
	}
}

// sortedOperations returns the running operations in a fixed order.
func sortedOperations(in *pod.Input) []pod.Operation {
	ops := make([]pod.Operation, 0, len(in.Running))
	for _, op := range in.Running {
		ops = append(ops, op)
	}
	slices.SortFunc(ops, func(a, b pod.Operation) int { return cmp.Compare(a.Target, b.Target) })
	return ops
}
