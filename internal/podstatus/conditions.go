package podstatus

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// conditions returns those of others as they are and ours as they follow from
// the rest of the status.
func conditions(in *pod.Input, s *corev1.PodStatus) []corev1.PodCondition {
	list := foreign(in, s)
	containersReady := containersReady(in, s)
	own := []corev1.PodCondition{
		readyToStart(in),
		initialized(in, s),
		podReady(in, containersReady, list),
		containersReady,
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
	if pod.MayRestartAll(in.Pod) {
		own = append(own, allRestarting(in, s))
	}
	if taken := disruption(in, s); taken != nil {
		own = append(own, *taken)
	}
	for _, c := range own {
		if c.Type != corev1.AllContainersRestarting { // nor does the kubelet
			c.ObservedGeneration = in.Pod.Generation
		}
		c.LastTransitionTime = metav1.NewTime(in.Now)
		if prior := pod.Condition(in.Prior.Conditions, c.Type); prior != nil && prior.Status == c.Status {
			c.LastTransitionTime = prior.LastTransitionTime
		}
		list = append(list, c)
	}
	return append(list, resizeConditions(in)...)
}

// foreign are the conditions of others.
func foreign(in *pod.Input, s *corev1.PodStatus) []corev1.PodCondition {
	var list []corev1.PodCondition
	taken := disruption(in, s)
	for _, c := range in.Prior.Conditions {
		if !pod.OwnCondition(c.Type) && (taken == nil || c.Type != taken.Type) {
			list = append(list, c)
		}
	}
	return list
}

// initialized follows the kubelet's GeneratePodInitializedCondition. A pod that
// was initialized stays so while all its containers are restarted.
func initialized(in *pod.Input, s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if s.Phase == corev1.PodSucceeded {
		c.Reason = "PodCompleted"
		return c
	}
	for i := range s.ContainerStatuses {
		if st := &s.ContainerStatuses[i]; st.State.Running != nil || last(st) != nil {
			return c
		}
	}
	var incomplete []string
	for i := range in.Pod.Spec.InitContainers {
		spec, st := &in.Pod.Spec.InitContainers[i], &s.InitContainerStatuses[i]
		passed := st.Ready
		if pod.InitKind(spec) == pod.KindSidecar {
			passed = st.Started != nil && *st.Started
		}
		if !passed {
			incomplete = append(incomplete, spec.Name)
		}
	}
	prior := pod.Condition(in.Prior.Conditions, c.Type)
	if len(incomplete) == 0 || prior != nil && prior.Status == corev1.ConditionTrue {
		return c
	}
	c.Status, c.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
	c.Message = fmt.Sprintf("containers with incomplete status: %s", incomplete)
	return c
}

// allRestarting says that all containers are being taken away to start anew
// (KEP-5532).
func allRestarting(in *pod.Input, s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.AllContainersRestarting, Status: corev1.ConditionFalse}
	switch {
	case s.Phase == corev1.PodSucceeded:
		c.Reason = "PodCompleted"
	case s.Phase == corev1.PodFailed:
		c.Reason = "PodFailed"
	case in.RestartingAll() && !in.Cleared():
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, "RestartAllContainersStarted", "container exited with restart policy rule"
	}
	return c
}

func readyToStart(in *pod.Input) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue}
	if in.Observed.At.IsZero() {
		if prior := pod.Condition(in.Prior.Conditions, c.Type); prior != nil {
			return *prior
		}
	}
	if _, why := in.UsableSandbox(); why != "" {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "PodSandboxNotReady", why
		// Removing what is left of a sandbox that was stopped is not worth telling.
		prior := pod.Condition(in.Prior.Conditions, c.Type)
		if in.Ended() && len(in.Observed.Sandboxes) == 0 && prior != nil && prior.Status == c.Status && prior.Message != "" {
			c.Reason, c.Message = prior.Reason, prior.Message
		}
	}
	return c
}

// containersReady follows the kubelet's GenerateContainersReadyCondition.
func containersReady(in *pod.Input, s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	switch s.Phase {
	case corev1.PodSucceeded:
		c.Reason = "PodCompleted"
		return c
	case corev1.PodFailed:
		c.Reason = "PodFailed"
		return c
	case corev1.PodPending, corev1.PodRunning, corev1.PodUnknown:
	}
	var unready []string
	for i := range in.Pod.Spec.InitContainers {
		if spec := &in.Pod.Spec.InitContainers[i]; pod.InitKind(spec) == pod.KindSidecar && !s.InitContainerStatuses[i].Ready {
			unready = append(unready, spec.Name)
		}
	}
	for i := range in.Pod.Spec.Containers {
		if !s.ContainerStatuses[i].Ready {
			unready = append(unready, in.Pod.Spec.Containers[i].Name)
		}
	}
	if len(unready) > 0 {
		c.Reason, c.Message = "ContainersNotReady", fmt.Sprintf("containers with unready status: %s", unready)
		return c
	}
	c.Status = corev1.ConditionTrue
	return c
}

// podReady is ContainersReady and every readiness gate.
func podReady(in *pod.Input, ready corev1.PodCondition, others []corev1.PodCondition) corev1.PodCondition {
	ready.Type = corev1.PodReady
	if ready.Status != corev1.ConditionTrue {
		return ready
	}
	var unready []string
	for _, gate := range in.Pod.Spec.ReadinessGates {
		switch c := pod.Condition(others, gate.ConditionType); {
		case c == nil:
			unready = append(unready, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case c.Status != corev1.ConditionTrue:
			unready = append(unready, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, c.Status))
		}
	}
	if len(unready) > 0 {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(unready, ", ")
	}
	return ready
}
