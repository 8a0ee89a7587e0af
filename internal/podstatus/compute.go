package podstatus

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Compute returns the pod's status. A pod that only the runtime knows has none.
func Compute(in *pod.Input) corev1.PodStatus {
	if in.Pod == nil {
		return corev1.PodStatus{}
	}
	s := corev1.PodStatus{
		ObservedGeneration:    in.Pod.Generation,
		QOSClass:              in.Prior.QOSClass,
		StartTime:             in.Prior.StartTime,
		NominatedNodeName:     in.Prior.NominatedNodeName,
		ResourceClaimStatuses: in.Prior.ResourceClaimStatuses,
	}
	if s.QOSClass == "" {
		s.QOSClass = pod.QOS(in.Pod)
	}
	if s.StartTime == nil {
		s.StartTime = &metav1.Time{Time: in.Now}
	}
	if refused(in) {
		s.Phase, s.Reason, s.Message = in.Stop.Phase, in.Stop.Reason, in.Stop.Message
		s.Conditions = foreign(in, &s)
		normalise(in.Pod, &s)
		return s
	}
	containers(in, &s)
	s.Resources, s.AllocatedResources = resources(actual(in)), resourcehelper.PodRequests(in.Pod, resourcehelper.PodResourcesOptions{})
	setPhase(in, &s)
	if pod.Terminal(s.Phase) && !pod.Terminal(in.Prior.Phase) {
		// It is decided now that none of them will run again: none waits for it.
		over := *in
		over.Prior.Phase = s.Phase
		containers(&over, &s)
	}
	setAddresses(in, &s)
	s.Conditions = conditions(in, &s)
	normalise(in.Pod, &s)
	return s
}

// refused reports whether the node never took the pod: there is nothing to tell of
// its containers.
func refused(in *pod.Input) bool {
	return in.Stop != nil && in.Stop.Refused && len(in.Observed.Containers) == 0 && len(in.Observed.Sandboxes) == 0
}

// resources are what the pod as a whole may use. The kubelet shows at times what
// the pod's cgroup says instead, which is the same, or no limit in the words of
// cgroup v1.
func resources(p *corev1.Pod) *corev1.ResourceRequirements {
	all := p.Spec.Resources.DeepCopy()
	if all == nil {
		all = &corev1.ResourceRequirements{}
	}
	opts := resourcehelper.PodResourcesOptions{}
	all.Requests, all.Limits = resourcehelper.PodRequests(p, opts), resourcehelper.PodLimits(p, opts)
	return all
}

// setPhase derives phase, reason and message. A terminal phase is
// withheld until nothing runs any more, the sandbox included, and so is what
// the stop decides.
func setPhase(in *pod.Input, s *corev1.PodStatus) {
	ended := in.Ended()
	s.Phase = phase(in, s, ended)
	switch {
	case up(in):
		if pod.Terminal(s.Phase) {
			s.Phase = cmp.Or(in.Prior.Phase, corev1.PodPending)
		}
	case !ended:
	case in.Stop.Phase != "":
		s.Phase = in.Stop.Phase
	case in.Source == pod.SourceAPI && !pod.Terminal(s.Phase):
		s.Phase = corev1.PodFailed
	}
	if pod.Terminal(in.Prior.Phase) {
		s.Phase = in.Prior.Phase
	}
	if s.Phase == in.Prior.Phase {
		s.Reason, s.Message = in.Prior.Reason, in.Prior.Message
	}
	if ended && in.Stop.Reason != "" && pod.Terminal(s.Phase) {
		s.Reason, s.Message = in.Stop.Reason, in.Stop.Message
	}
}

// up reports whether anything of the pod may still run.
func up(in *pod.Input) bool {
	return in.Observed.AnyLive() || len(in.Observed.ReadySandboxes()) > 0
}

// setAddresses reports the node's and the pod's addresses. The pod's are kept
// when its sandbox is gone: the API expects them of a completed pod too.
func setAddresses(in *pod.Input, s *corev1.PodStatus) {
	s.HostIP, s.HostIPs = in.Prior.HostIP, in.Prior.HostIPs
	if len(in.Node.HostIPs) > 0 {
		s.HostIP, s.HostIPs = in.Node.HostIPs[0], nil
		for _, ip := range in.Node.HostIPs {
			s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
		}
	}
	s.PodIP, s.PodIPs = in.Prior.PodIP, in.Prior.PodIPs
	var ips []string
	if in.HostNetwork() {
		if s.PodIP == "" {
			ips = in.Node.HostIPs
		}
	} else if sb, _ := in.UsableSandbox(); sb != nil {
		ips = sb.IPs
	}
	if len(ips) == 0 {
		return
	}
	s.PodIP, s.PodIPs = ips[0], nil
	for _, ip := range ips {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	}
}

// messageLimit is how many bytes of termination messages a pod may have in all
// (API: TerminationMessagePath).
const messageLimit = 12 << 10

// normalise cuts times to seconds, as the API stores them, and messages to each
// container's share, and orders the container statuses by name, as the kubelet
// does; those of init containers stay in spec order.
func normalise(p *corev1.Pod, s *corev1.PodStatus) {
	if s.StartTime != nil {
		t := s.StartTime.Rfc3339Copy()
		s.StartTime = &t
	}
	for i := range s.Conditions {
		s.Conditions[i].LastTransitionTime = s.Conditions[i].LastTransitionTime.Rfc3339Copy()
	}
	share := messageLimit / max(len(p.Spec.Containers)+len(p.Spec.InitContainers)+len(p.Spec.EphemeralContainers), 1)
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			normaliseState(&list[i].State, share)
			normaliseState(&list[i].LastTerminationState, share)
		}
	}
	byName := func(a, b corev1.ContainerStatus) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(s.ContainerStatuses, byName)
	slices.SortFunc(s.EphemeralContainerStatuses, byName)
}

func normaliseState(s *corev1.ContainerState, share int) {
	if r := s.Running; r != nil {
		s.Running = &corev1.ContainerStateRunning{StartedAt: r.StartedAt.Rfc3339Copy()}
	}
	if t := s.Terminated; t != nil {
		c := *t
		c.StartedAt, c.FinishedAt = t.StartedAt.Rfc3339Copy(), t.FinishedAt.Rfc3339Copy()
		if c.ContainerID != "" && c.StartedAt.IsZero() {
			// The runtime knows the container and says that it never started; that
			// of a container that was lost is not known.
			c.StartedAt = metav1.Unix(0, 0).Rfc3339Copy()
		}
		c.Message = c.Message[:min(len(c.Message), share)]
		s.Terminated = &c
	}
}
