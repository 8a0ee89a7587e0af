package pod

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Instance is what the agent itself knows of a container instance, beside what
// the runtime shows. None of it has to survive the agent: without it a probe
// has no verdict yet, and a stop that was under way is decided again.
type Instance struct {
	Liveness, Readiness, Startup Verdict
	// StopBy is when the instance must have ended; zero: no stop of it was begun.
	StopBy time.Time
	// PreStopped says that its preStop hook was begun, and is not to be again.
	PreStopped bool
	// Replace says that the instance was stopped to make room for the next one,
	// whatever the restart policy says of its exit code.
	Replace bool
	// HookFailed says that its postStart hook failed, for which it must end.
	HookFailed bool
}

// With returns the instance with a verdict changed.
func (i Instance) With(k ProbeKind, v Verdict) Instance {
	switch k {
	case ProbeReadiness:
		i.Readiness = v
	case ProbeStartup:
		i.Startup = v
	case ProbeLiveness:
		i.Liveness = v
	}
	return i
}

// Doomed reports whether the agent has decided that the instance must end.
func (i Instance) Doomed() bool {
	return !i.StopBy.IsZero() || i.HookFailed || i.Liveness == VerdictFailure || i.Startup == VerdictFailure
}

// InHook reports whether the container's postStart hook may still run: until it
// has ended the container does not count as running (API: Lifecycle.PostStart).
func (in *Input) InHook(c *corev1.Container) bool {
	op, busy := in.Running[ContainerTarget(c.Name)]
	return busy && op.Verb == VerbStartContainer && c.Lifecycle != nil && c.Lifecycle.PostStart != nil
}

// Started reports whether an instance runs, its postStart hook is through, and
// it has passed its startup probe, if it has one. What an earlier agent published
// of this very instance holds until the probe says otherwise.
func (in *Input) Started(c *corev1.Container, i *Container) bool {
	if i == nil || i.State != ContainerRunning || in.InHook(c) || in.Instances[i.ID].HookFailed {
		return false
	}
	if c.StartupProbe == nil {
		return true
	}
	if v := in.Instances[i.ID].Startup; v != VerdictUnknown {
		return v == VerdictSuccess
	}
	prior := in.priorOf(i)
	return prior != nil && prior.Started != nil && *prior.Started
}

// Ready reports whether an instance has started and passes its readiness probe,
// if it has one.
func (in *Input) Ready(c *corev1.Container, i *Container) bool {
	if !in.Started(c, i) {
		return false
	}
	if c.ReadinessProbe == nil {
		return true
	}
	if v := in.Instances[i.ID].Readiness; v != VerdictUnknown {
		return v == VerdictSuccess
	}
	prior := in.priorOf(i)
	return prior != nil && prior.Ready
}

// priorOf returns the last published status of this instance, or nil.
func (in *Input) priorOf(i *Container) *corev1.ContainerStatus {
	prior := in.PriorContainer(i.Name)
	if prior == nil || prior.ContainerID == "" || !strings.HasSuffix(prior.ContainerID, "://"+i.ID) {
		return nil
	}
	return prior
}

// Initialized reports whether everything that comes before the regular
// containers has been done in the sandbox the pod has now.
func (in *Input) Initialized() bool {
	inits := len(in.Pod.Spec.InitContainers)
	return inits == 0 || in.InitReached() == inits ||
		in.InitReached() == inits-1 && in.InitPassed(&in.Pod.Spec.InitContainers[inits-1])
}

// InitReached returns how far starting has come in the newest sandbox: the
// index of the last init container or sidecar that has an instance there, -1
// for none, and their number once a regular container has one. Only the last
// one counts, for the runtime may have forgotten those before it.
func (in *Input) InitReached() int {
	if len(in.Observed.Sandboxes) == 0 {
		return -1
	}
	for i := range in.Pod.Spec.Containers {
		if c := in.InSandbox(in.Pod.Spec.Containers[i].Name); c != nil && c.State != ContainerCreated && c.State != ContainerAborted {
			return len(in.Pod.Spec.InitContainers)
		}
	}
	for i := range slices.Backward(in.Pod.Spec.InitContainers) {
		if in.InSandbox(in.Pod.Spec.InitContainers[i].Name) != nil {
			return i
		}
	}
	return -1
}

// InitPassed reports whether an init container or sidecar lets the next one
// start.
func (in *Input) InitPassed(c *corev1.Container) bool {
	i := in.InSandbox(c.Name)
	if i == nil {
		return false
	}
	if InitKind(c) == KindSidecar {
		return in.Started(c, i)
	}
	return i.State == ContainerExited && i.ExitCode == 0
}

// InSandbox returns the newest instance of a container in the newest sandbox,
// or nil.
func (in *Input) InSandbox(name string) *Container {
	latest := in.Observed.Latest(name)
	if latest == nil || len(in.Observed.Sandboxes) == 0 || latest.SandboxID != in.Observed.Sandboxes[0].ID {
		return nil
	}
	return latest
}
