package pod

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Restarts reports whether a container that exited with the code is started
// again: its rules come first, then its own restartPolicy, then the pod's
// (KEP-5307).
func Restarts(p *corev1.Pod, k Kind, c *corev1.Container, exitCode int32) bool {
	switch {
	case k == KindEphemeral:
		return false
	case k == KindSidecar:
		return true
	case k == KindInit && exitCode == 0:
		return false
	}
	policy := p.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		if action(c, exitCode) != "" {
			return true // every action there is restarts this container
		}
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	return restartsBy(policy, exitCode)
}

func restartsBy(policy corev1.RestartPolicy, exitCode int32) bool {
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return exitCode != 0
	case corev1.RestartPolicyAlways:
	}
	return true
}

// action is what the first rule that fits the exit code asks for; empty: none.
func action(c *corev1.Container, exitCode int32) corev1.ContainerRestartRuleAction {
	for _, r := range c.RestartPolicyRules {
		if r.ExitCodes == nil {
			continue
		}
		in := slices.Contains(r.ExitCodes.Values, exitCode)
		fits := r.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn && in ||
			r.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpNotIn && !in
		known := r.Action == corev1.ContainerRestartRuleActionRestart || r.Action == corev1.ContainerRestartRuleActionRestartAllContainers
		if fits && known {
			return r.Action
		}
	}
	return ""
}

// RestartsAfterKill reports whether a container that has to be killed for its
// health is started again. Its rules have no say: there is no exit code yet.
func RestartsAfterKill(p *corev1.Pod, k Kind, c *corev1.Container) bool {
	switch {
	case k == KindSidecar:
		return true
	case c.RestartPolicy != nil:
		return *c.RestartPolicy != corev1.ContainerRestartPolicyNever
	}
	return p.Spec.RestartPolicy != corev1.RestartPolicyNever
}

// MayRestartAll reports whether any container of the pod has a rule that
// restarts all of them.
func MayRestartAll(p *corev1.Pod) bool {
	for _, c := range Containers(p) {
		if slices.ContainsFunc(c.RestartPolicyRules, func(r corev1.ContainerRestartRule) bool {
			return r.Action == corev1.ContainerRestartRuleActionRestartAllContainers
		}) {
			return true
		}
	}
	return false
}

// RestartsAll reports whether this dead instance is why all containers of the
// pod have to be restarted.
func RestartsAll(c *corev1.Container, dead *Container) bool {
	return c.RestartPolicy != nil && dead.State == ContainerExited &&
		action(c, dead.ExitCode) == corev1.ContainerRestartRuleActionRestartAllContainers
}

// RestartingAll reports whether all containers of the pod are to be taken away
// and started anew in the sandbox they have. It is so from the exit that a rule
// speaks of until no instance is left; the condition AllContainersRestarting
// carries it over the death of the agent.
func (in *Input) RestartingAll() bool {
	if in.Pod == nil || !MayRestartAll(in.Pod) || Terminal(in.Prior.Phase) {
		return false
	}
	if c := Condition(in.Prior.Conditions, corev1.AllContainersRestarting); c != nil && c.Status == corev1.ConditionTrue {
		return true
	}
	for k, c := range Containers(in.Pod) {
		if latest := in.Observed.Latest(c.Name); k != KindEphemeral && latest != nil && RestartsAll(c, latest) {
			return true
		}
	}
	return false
}

// Cleared reports whether no instance of an init container, sidecar or regular
// container is left.
func (in *Input) Cleared() bool {
	for k, c := range Containers(in.Pod) {
		if k != KindEphemeral && in.Observed.Latest(c.Name) != nil {
			return false
		}
	}
	return true
}

// Finished reports whether the container has ended for good. Where the runtime
// has forgotten the instance, the last published status is the witness: a
// container that must not run twice does not.
func (in *Input) Finished(k Kind, c *corev1.Container) bool {
	if in.Busy(ContainerTarget(c.Name)) {
		return false
	}
	if latest := in.Latest(c.Name); latest != nil {
		return latest.State == ContainerExited && !in.restarts(k, c, latest) && !in.RestartingAll()
	}
	prior := in.PriorContainer(c.Name)
	return prior != nil && prior.State.Terminated != nil && !Restarts(in.Pod, k, c, prior.State.Terminated.ExitCode) && !in.RestartingAll()
}

// restarts reports whether a dead instance is followed by another one.
func (in *Input) restarts(k Kind, c *corev1.Container, dead *Container) bool {
	return in.Instances[dead.ID].Replace || Restarts(in.Pod, k, c, dead.ExitCode)
}

// Restart returns when the container's dead instance may be followed by the
// next one; nil while it is not dead or not to be restarted.
func (in *Input) Restart(k Kind, c *corev1.Container) *Restart {
	latest := in.Latest(c.Name)
	if latest == nil || latest.State != ContainerExited || !in.restarts(k, c, latest) {
		return nil
	}
	r := RestartAfter(latest, in.Hashes[c.Name], in.maxBackoff(), in.Instances[latest.ID].Replace)
	return &r
}

// Rerun returns when a container may run again although its last instance had
// ended for good: its sandbox was lost, and everything starts from the
// beginning. A failure still counts for the crash loop, a success does not.
func (in *Input) Rerun(dead *Container) Restart {
	if dead.ExitCode == 0 {
		return Restart{At: dead.FinishedAt}
	}
	return RestartAfter(dead, in.Hashes[dead.Name], in.maxBackoff(), false)
}

func (in *Input) maxBackoff() (limit time.Duration) {
	if in.Node.MaxBackoff > 0 {
		return in.Node.MaxBackoff
	}
	return MaxBackoff
}

// Over reports whether no container of the pod will ever run again: an init
// container failed for good, or all regular ones have finished. Sidecars are not
// asked.
func (in *Input) Over() bool {
	if Terminal(in.Prior.Phase) || in.initFailed() {
		return true
	}
	for i := range in.Pod.Spec.Containers {
		if !in.Finished(KindRegular, &in.Pod.Spec.Containers[i]) {
			return false
		}
	}
	return true
}

// initFailed reports whether an init container has failed for good, so that the
// pod never gets to its regular containers.
func (in *Input) initFailed() bool {
	for k, c := range Containers(in.Pod) {
		if k != KindInit || !in.Finished(k, c) {
			continue
		}
		if latest := in.Latest(c.Name); latest != nil {
			if latest.ExitCode != 0 {
				return true
			}
		} else if prior := in.PriorContainer(c.Name); prior.State.Terminated.ExitCode != 0 {
			return true
		}
	}
	return false
}
