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
	var list []corev1.PodCondition
	for _, c := range in.Prior.Conditions {
		if !pod.OwnCondition(c.Type) {
			list = append(list, c)
		}
	}
	containersReady := containersReady(in, s)
	own := []corev1.PodCondition{
		readyToStart(in),
		{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, Reason: completed(s)},
		podReady(in, containersReady, list),
		containersReady,
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
	for _, c := range own {
		c.ObservedGeneration = in.Pod.Generation
		c.LastTransitionTime = metav1.NewTime(in.Now)
		if prior := find(in.Prior.Conditions, c.Type); prior != nil && prior.Status == c.Status {
			c.LastTransitionTime = prior.LastTransitionTime
		}
		list = append(list, c)
	}
	return list
}

func completed(s *corev1.PodStatus) string {
	if s.Phase == corev1.PodSucceeded {
		return "PodCompleted"
	}
	return ""
}

func readyToStart(in *pod.Input) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue}
	if in.Observed.At.IsZero() {
		if prior := find(in.Prior.Conditions, c.Type); prior != nil {
			return *prior
		}
	}
	if _, why := in.UsableSandbox(); why != "" {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "PodSandboxNotReady", why
		// Removing what is left of a sandbox that was stopped is not worth telling.
		prior := find(in.Prior.Conditions, c.Type)
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
	for i := range in.Pod.Spec.Containers {
		name := in.Pod.Spec.Containers[i].Name
		for j := range s.ContainerStatuses {
			if s.ContainerStatuses[j].Name == name && !s.ContainerStatuses[j].Ready {
				unready = append(unready, name)
			}
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
		switch c := find(others, gate.ConditionType); {
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

func find(list []corev1.PodCondition, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range list {
		if list[i].Type == t {
			return &list[i]
		}
	}
	return nil
}
