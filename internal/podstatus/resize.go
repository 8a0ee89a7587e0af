package podstatus

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// resizeConditions tell of a resize that is not allocated, and of one that is and
// has not come to what runs (KEP-1287).
func resizeConditions(in *pod.Input) []corev1.PodCondition {
	var list []corev1.PodCondition
	if pending := in.Resize.Pending; pending != nil && in.Stop == nil {
		list = append(list, resizeCondition(in, corev1.PodCondition{
			Type: corev1.PodResizePending, Reason: pending.Reason, Message: pending.Message, ObservedGeneration: pending.Generation,
		}))
	}
	if in.Stop != nil || in.Over() || len(in.Resizes()) == 0 && !in.ResizesWhole() {
		return list
	}
	c := corev1.PodCondition{Type: corev1.PodResizeInProgress, ObservedGeneration: in.Resize.Generation}
	if at, failed := in.Attempts[pod.Work{Target: pod.TargetSizes, Verb: pod.VerbResize}]; failed {
		c.Reason, c.Message = corev1.PodReasonError, at.Message
	}
	if prior := pod.Condition(in.Prior.Conditions, c.Type); c.ObservedGeneration == 0 && prior != nil {
		c.ObservedGeneration = prior.ObservedGeneration // allocated before this agent started
	}
	if c.ObservedGeneration == 0 {
		c.ObservedGeneration = in.Pod.Generation
	}
	return append(list, resizeCondition(in, c))
}

func resizeCondition(in *pod.Input, c corev1.PodCondition) corev1.PodCondition {
	c.Status, c.LastProbeTime, c.LastTransitionTime = corev1.ConditionTrue, metav1.NewTime(in.Now), metav1.NewTime(in.Now)
	prior := pod.Condition(in.Prior.Conditions, c.Type)
	if prior == nil {
		return c
	}
	if prior.Reason == c.Reason {
		c.LastTransitionTime = prior.LastTransitionTime
	}
	if prior.Reason == c.Reason && prior.Message == c.Message && prior.ObservedGeneration == c.ObservedGeneration {
		c.LastProbeTime = prior.LastProbeTime // nothing new was found out
	}
	return c
}

// disruption says of a pod that the agent takes away that it is not to blame
// (KEP-3329), once it has ended.
func disruption(in *pod.Input, s *corev1.PodStatus) *corev1.PodCondition {
	if in.Stop == nil || in.Stop.Disruption == "" || !pod.Terminal(s.Phase) {
		return nil
	}
	return &corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
		Reason: corev1.PodReasonTerminationByKubelet, Message: in.Stop.Disruption}
}

// actual is the pod with the resources that its running containers have.
func actual(in *pod.Input) *corev1.Pod {
	resizes := in.Resizes()
	if len(resizes) == 0 && !in.ResizesWhole() {
		return in.Pod
	}
	p := in.Pod.DeepCopy()
	for _, r := range resizes {
		c, _ := pod.Find(p, r.Container.Name)
		c.Resources = withSizes(c.Resources, in.Actuated.Containers[c.Name])
	}
	if in.ResizesWhole() {
		whole := withSizes(*p.Spec.Resources, in.Actuated.Whole())
		p.Spec.Resources = &whole
	}
	return p
}

// withSizes replaces what a resize can change, as far as it is known.
func withSizes(r, given corev1.ResourceRequirements) corev1.ResourceRequirements {
	replace := func(list, by corev1.ResourceList) corev1.ResourceList {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			q, ok := by[name]
			switch {
			case q.Sign() < 0: // nobody knows it, see [pod.Actuation.Doubting]
			case ok && list == nil:
				list = corev1.ResourceList{name: q}
			case ok:
				list[name] = q
			}
		}
		return list
	}
	r.Requests, r.Limits = replace(r.Requests, given.Requests), replace(r.Limits, given.Limits)
	return r
}
