package podstatus

import (
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// tally counts the containers of a pod by what their statuses say.
type tally struct {
	running, waiting int
	stopped, over    int // over: stopped for good
	succeeded        int
	initPending      int
	sidecarsPending  int
	initFailed       bool // for good
}

// phase follows the kubelet's getPhase.
func phase(in *pod.Input, s *corev1.PodStatus, ended bool) corev1.PodPhase {
	var t tally
	for i := range in.Pod.Spec.InitContainers {
		c := &in.Pod.Spec.InitContainers[i]
		if pod.InitKind(c) == pod.KindSidecar {
			t.sidecar(&s.InitContainerStatuses[i])
		} else {
			t.init(in, c, &s.InitContainerStatuses[i])
		}
	}
	for i := range in.Pod.Spec.Containers {
		t.regular(in, &in.Pod.Spec.Containers[i], &s.ContainerStatuses[i])
	}
	switch {
	case t.initFailed:
		return corev1.PodFailed
	case t.initPending > 0, t.sidecarsPending > 0 && !in.Initialized(), t.waiting > 0:
		return corev1.PodPending
	case t.running > 0:
		return corev1.PodRunning
	case t.stopped == 0:
		return corev1.PodPending
	case t.stopped > t.over && (!ended || in.Source != pod.SourceAPI):
		return corev1.PodRunning
	case t.stopped == t.succeeded:
		return corev1.PodSucceeded
	}
	return corev1.PodFailed
}

// last returns how the container ended last, or nil if it runs or has never
// ended.
func last(st *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	switch {
	case st.State.Running != nil:
		return nil
	case st.State.Terminated != nil:
		return st.State.Terminated
	}
	return st.LastTerminationState.Terminated
}

func (t *tally) init(in *pod.Input, c *corev1.Container, st *corev1.ContainerStatus) {
	switch end := last(st); {
	case end == nil:
		t.initPending++
	case end.ExitCode != 0:
		t.initFailed = t.initFailed || !again(in, pod.KindInit, c, end)
	}
}

func (t *tally) sidecar(st *corev1.ContainerStatus) {
	switch {
	case st.State.Running != nil:
		t.running++
		if st.Started == nil || !*st.Started {
			t.sidecarsPending++
		}
	case last(st) == nil:
		t.waiting++
		t.sidecarsPending++
	}
}

func (t *tally) regular(in *pod.Input, c *corev1.Container, st *corev1.ContainerStatus) {
	end := last(st)
	switch {
	case st.State.Running != nil:
		t.running++
		return
	case end == nil:
		t.waiting++
		return
	}
	t.stopped++
	if !again(in, pod.KindRegular, c, end) {
		t.over++
	}
	if st.State.Terminated != nil && end.ExitCode == 0 {
		t.succeeded++
	}
}

// again reports whether a container that ended this way is started again.
func again(in *pod.Input, k pod.Kind, c *corev1.Container, end *corev1.ContainerStateTerminated) bool {
	replaced := in.Stop == nil && in.Restart(k, c) != nil
	return replaced || end.Reason == restartingAll || in.RestartingAll() || pod.Restarts(in.Pod, k, c, end.ExitCode)
}
