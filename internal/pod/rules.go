package pod

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Texts of the condition PodReadyToStartContainers, as the kubelet has them.
const (
	noSandbox         = "no pod sandbox exists"
	sandboxNotReady   = "pod sandbox is not ready"
	multipleSandboxes = "multiple pod sandboxes are ready and need to be reconciled"
	networkChanged    = "network namespace mode changed and sandbox needs to be recreated"
	sandboxWithoutIP  = "pod sandbox has no IP address"
)

// UsableSandbox returns the sandbox containers may run in, or why there is
// none, in the words of the condition PodReadyToStartContainers.
func (in *Input) UsableSandbox() (*Sandbox, string) {
	if len(in.Observed.Sandboxes) == 0 {
		return nil, noSandbox
	}
	s := &in.Observed.Sandboxes[0]
	switch {
	case len(in.Observed.ReadySandboxes()) > 1:
		return nil, multipleSandboxes
	case !s.Ready:
		return nil, sandboxNotReady
	case s.HostNetwork != in.HostNetwork():
		return nil, networkChanged
	case len(s.IPs) == 0 && !s.HostNetwork:
		return nil, sandboxWithoutIP
	}
	return s, ""
}

// Condition returns the condition of a type, or nil.
func Condition(list []corev1.PodCondition, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range list {
		if list[i].Type == t {
			return &list[i]
		}
	}
	return nil
}

// OwnCondition reports whether the node agent alone writes the condition.
func OwnCondition(t corev1.PodConditionType) bool {
	switch t {
	case corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady,
		corev1.ContainersReady, corev1.PodScheduled, corev1.AllContainersRestarting,
		corev1.PodResizePending, corev1.PodResizeInProgress:
		return true
	default:
		return false
	}
}

// Terminal reports whether the phase is one a pod never leaves.
func Terminal(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

// FailedImage returns how an image that the container needs could last not be had,
// and which.
func (in *Input) FailedImage(c *corev1.Container) (ImageUse, Attempt, bool) {
	for _, use := range ImageUses(in.Pod, c) {
		if at, failed := in.Attempts[Work{ImageTarget(use.Key), VerbEnsureImage}]; failed {
			return use, at, true
		}
	}
	return ImageUse{}, Attempt{}, false
}

// FailedStart returns how the container could last not be started.
func (in *Input) FailedStart(container string) (Attempt, bool) {
	at, failed := in.Attempts[Work{ContainerTarget(container), VerbStartContainer}]
	return at, failed
}

// Latest returns the newest instance of a container, or nil. A dead instance
// that is older than the one last published is not it: the newest was removed
// first.
func (in *Input) Latest(name string) *Container {
	latest := in.Observed.Latest(name)
	if latest == nil || latest.State != ContainerExited {
		return latest
	}
	prior := in.PriorContainer(name)
	if prior != nil && int(prior.RestartCount) > latest.Attempt && prior.ContainerID != "" && !strings.HasSuffix(prior.ContainerID, latest.ID) && !NeverRan(prior) {
		return nil
	}
	return latest
}

// NeverRan reports whether the instance that a status speaks of was made but not
// seen to run: it waits, and what ended last was another one.
func NeverRan(st *corev1.ContainerStatus) bool {
	end := st.LastTerminationState.Terminated
	return st.State.Waiting != nil && st.ContainerID != "" && (end == nil || end.ContainerID != "" && end.ContainerID != st.ContainerID)
}

// PriorContainer returns the last published status of a container of any kind,
// or nil.
func (in *Input) PriorContainer(name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{in.Prior.ContainerStatuses, in.Prior.InitContainerStatuses, in.Prior.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// Ended reports whether a stopped pod has nothing left that runs or is being
// started: what its containers were is now decided.
func (in *Input) Ended() bool {
	if in.Stop == nil || in.Observed.At.IsZero() || in.Observed.AnyLive() {
		return false
	}
	for _, op := range in.Running {
		if op.Constructive || op.Verb == VerbStopContainer || op.Verb == VerbRunPreStop {
			return false
		}
	}
	return true
}

// Grace is how long the pod's spec allows its processes to end.
func Grace(p *corev1.Pod) time.Duration {
	if p == nil || p.Spec.TerminationGracePeriodSeconds == nil {
		return 30 * time.Second
	}
	return time.Duration(max(*p.Spec.TerminationGracePeriodSeconds, 1)) * time.Second
}

// LongName is "name_namespace(uid)", as the kubelet's messages name a pod.
func LongName(r Ref) string { return fmt.Sprintf("%s_%s(%s)", r.Name, r.Namespace, r.UID) }

// OwnUsers says whether a pod asks for user IDs of its own.
func OwnUsers(p *corev1.Pod) bool { return p.Spec.HostUsers != nil && !*p.Spec.HostUsers }

// Unsupported names what the pod asks for that this version would have to leave
// out; empty when it can be run as its spec says. Such a pod is held, with the
// reason in its status, rather than run as something else.
func Unsupported(p *corev1.Pod) string {
	var missing []string
	add := func(is bool, what string, args ...any) {
		if is {
			missing = append(missing, fmt.Sprintf(what, args...))
		}
	}
	s := &p.Spec
	add(len(s.ResourceClaims) > 0, "resourceClaims")
	for _, c := range Containers(p) {
		add(len(c.VolumeDevices) > 0, "volumeDevices of container %s", c.Name)
	}
	if len(missing) == 0 {
		return ""
	}
	return "not supported by this version of nodeagent: " + strings.Join(missing, ", ")
}
