package lifecycle

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// The events of a resize (KEP-1287).
const (
	resizeStarted    = "ResizeStarted"
	resizeCompleted  = "ResizeCompleted"
	resizeError      = "ResizeError"
	resizeDeferred   = "ResizeDeferred"
	resizeInfeasible = "ResizeInfeasible"
)

// tellResize records what the conditions newly say of a resize. What was published
// before is what an agent that was restarted has told.
func (w *worker) tellResize(s *state, before, after []corev1.PodCondition) {
	tell := func(p *corev1.Pod, warning bool, reason, title, trouble string, generation int64) {
		w.deps.Events.Event(p, "", warning, reason, resizeMessage(p, title, trouble, generation))
	}
	was, is := pod.Condition(before, corev1.PodResizePending), pod.Condition(after, corev1.PodResizePending)
	if is != nil && (was == nil || was.Reason != is.Reason || was.ObservedGeneration != is.ObservedGeneration) {
		reason := resizeDeferred
		if is.Reason == corev1.PodReasonInfeasible {
			reason = resizeInfeasible
		}
		asked := s.spec.Pod
		if w.current.asked.Pod != nil {
			asked = w.current.asked.Pod
		}
		tell(asked, true, reason, "Pod resize "+is.Reason, is.Message, is.ObservedGeneration)
	}
	was, is = pod.Condition(before, corev1.PodResizeInProgress), pod.Condition(after, corev1.PodResizeInProgress)
	switch {
	case is == nil && was != nil && s.stop == nil:
		tell(s.spec.Pod, false, resizeCompleted, "Pod resize completed", "", was.ObservedGeneration)
	case is == nil:
	case was == nil || was.ObservedGeneration != is.ObservedGeneration:
		tell(s.spec.Pod, false, resizeStarted, "Pod resize started", "", is.ObservedGeneration)
	case is.Reason == corev1.PodReasonError && (was.Reason != is.Reason || was.Message != is.Message):
		tell(s.spec.Pod, true, resizeError, "Pod resize error", is.Message, is.ObservedGeneration)
	}
}

// resizeMessage says what resources the containers of p have or ask for, in the
// kubelet's form.
func resizeMessage(p *corev1.Pod, title, trouble string, generation int64) string {
	type sized struct {
		Name      string                      `json:"name"`
		Resources corev1.ResourceRequirements `json:"resources,omitempty"` //nolint:modernize // an empty one is written, as the kubelet does
	}
	var all struct {
		InitContainers []sized `json:"initContainers,omitempty"`
		Containers     []sized `json:"containers,omitempty"`
		Generation     int64   `json:"generation"`
		Error          string  `json:"error,omitempty"`
	}
	all.Generation, all.Error = generation, trouble
	for k, c := range pod.Containers(p) {
		switch one := (sized{c.Name, c.Resources}); k {
		case pod.KindInit, pod.KindSidecar:
			all.InitContainers = append(all.InitContainers, one)
		case pod.KindRegular:
			all.Containers = append(all.Containers, one)
		case pod.KindEphemeral:
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		return title // quantities that were read can be written
	}
	return fmt.Sprintf("%s: %s", title, text)
}
