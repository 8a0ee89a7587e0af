package podstatus

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	statusUnknown = "ContainerStatusUnknown"
	restartingAll = "RestartingAllContainers"
	crashLoop     = "CrashLoopBackOff"
	clearedAway   = "The container is removed because RestartAllContainers in place"
	initForgotten = "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally"
	lostAtEnd     = "The container could not be located when the pod was terminated"
	lostRunning   = "The container could not be located when the pod was deleted.  The container used to be Running"
	// lostExitCode says "an error" where the real exit code is lost.
	lostExitCode = 137
)

// containers fills in the status of each container of the spec, in spec order.
func containers(in *pod.Input, s *corev1.PodStatus) {
	s.InitContainerStatuses, s.EphemeralContainerStatuses = nil, nil
	s.ContainerStatuses = make([]corev1.ContainerStatus, 0, len(in.Pod.Spec.Containers))
	for k, c := range pod.Containers(in.Pod) {
		st := container(in, k, c)
		setReady(in, k, c, &st)
		switch k {
		case pod.KindInit, pod.KindSidecar:
			s.InitContainerStatuses = append(s.InitContainerStatuses, st)
		case pod.KindRegular:
			s.ContainerStatuses = append(s.ContainerStatuses, st)
		case pod.KindEphemeral:
			s.EphemeralContainerStatuses = append(s.EphemeralContainerStatuses, st)
		}
	}
	if in.Ended() {
		loseRest(in, s)
	}
}

func container(in *pod.Input, k pod.Kind, c *corev1.Container) corev1.ContainerStatus {
	var st corev1.ContainerStatus
	latest := in.Latest(c.Name)
	switch {
	case latest == nil:
	case latest.State == pod.ContainerAborted:
		latest = in.Observed.Previous(latest)
	case latest.State == pod.ContainerCreated && in.Observed.Previous(latest) != nil:
		latest = in.Observed.Previous(latest) // a restart counts when it has happened
	}
	if latest != nil {
		st = observed(in, k, c, latest)
	} else {
		st = unobserved(in, k, c)
	}
	st.VolumeMounts = volumeMounts(in, c)
	if st.ContainerID != "" {
		st.Resources = c.Resources.DeepCopy()
		if given, known := in.Actuated.Containers[c.Name]; known && latest != nil && latest.State == pod.ContainerRunning && k != pod.KindEphemeral {
			*st.Resources = withSizes(*st.Resources, given)
		}
		st.AllocatedResources = c.Resources.Requests
	}
	return st
}

// loseRest says of the containers of a pod that has ended what is known of those
// without an end: that they are lost. Regular containers of a pod that never
// got to them are not, nor are the init containers behind the last that ran.
func loseRest(in *pod.Input, s *corev1.PodStatus) {
	inits := s.InitContainerStatuses
	moved := len(inits) == 0
	for i := range s.ContainerStatuses {
		st := &s.ContainerStatuses[i]
		moved = moved || st.LastTerminationState.Terminated != nil || st.State.Waiting == nil
	}
	tried := min(1, len(inits))
	for i := range inits {
		if inits[i].State.Waiting == nil || inits[i].LastTerminationState.Terminated != nil {
			tried = i + 1
		}
	}
	if n := len(inits); n > 0 {
		end := last(&inits[n-1])
		sidecar := pod.InitKind(&in.Pod.Spec.InitContainers[n-1]) == pod.KindSidecar
		moved = moved || !sidecar && end != nil && end.ExitCode == 0
	}
	if moved {
		lose(s.ContainerStatuses)
	}
	lose(inits[:tried])
}

func lose(list []corev1.ContainerStatus) {
	no := false
	for i := range list {
		if list[i].State.Terminated == nil {
			list[i].State = corev1.ContainerState{Terminated: lost(lostAtEnd)}
			list[i].Started, list[i].Ready = &no, false
		}
	}
}

// observed is the status of a container the runtime has an instance of.
func observed(in *pod.Input, k pod.Kind, c *corev1.Container, latest *pod.Container) corev1.ContainerStatus {
	st := fromInstance(in, latest)
	if st.State.Running != nil && in.InHook(c) {
		st.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: waitingDefault(in)}}
	}
	if prev := in.Observed.Previous(latest); prev != nil {
		st.LastTerminationState = corev1.ContainerState{Terminated: terminated(in, prev)}
	} else if prior := in.PriorContainer(c.Name); prior != nil && prior.RestartCount >= st.RestartCount {
		st.LastTerminationState = prior.LastTerminationState
	} else if prior != nil && prior.State.Terminated != nil && prior.ContainerID != st.ContainerID {
		st.LastTerminationState = prior.State
	} else if prior != nil && prior.State.Waiting != nil {
		st.LastTerminationState = prior.LastTerminationState
	}
	if st.State.Terminated != nil && in.Instances[latest.ID].Replace && !pod.Restarts(in.Pod, k, c, latest.ExitCode) {
		// The API lets nobody come back from an end that the policy has as final.
		st.LastTerminationState, st.State = st.State, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: waitingDefault(in)}}
	}
	if prior := in.PriorContainer(c.Name); prior != nil {
		st.RestartCount = max(st.RestartCount, prior.RestartCount)
		if st.User == nil && prior.ContainerID == st.ContainerID {
			st.User = prior.User // a runtime that removes the container no longer knows
		}
	}
	w := waitingReason(in, k, c)
	if w == nil && st.State.Terminated != nil {
		w = backOffOver(in, k, c, &st)
	}
	if w != nil {
		if st.State.Terminated != nil {
			st.LastTerminationState = st.State
		}
		st.State = corev1.ContainerState{Waiting: w}
	}
	return st
}

// backOffOver is what a container goes on to show that has waited for its restart,
// until that has happened; nil if it has not waited, or does not restart.
func backOffOver(in *pod.Input, k pod.Kind, c *corev1.Container, st *corev1.ContainerStatus) *corev1.ContainerStateWaiting {
	prior := in.PriorContainer(c.Name)
	if prior == nil || prior.State.Waiting == nil || prior.State.Waiting.Reason != crashLoop || prior.ContainerID != st.ContainerID ||
		in.Stop != nil || in.Over() || in.RestartingAll() || in.Finished(k, c) {
		return nil
	}
	return prior.State.Waiting
}

func fromInstance(in *pod.Input, i *pod.Container) corev1.ContainerStatus {
	st := corev1.ContainerStatus{
		Name:         i.Name,
		RestartCount: int32(min(i.Attempt, 1<<30)),
		Image:        i.Image,
		ImageID:      i.ImageID,
		ContainerID:  containerID(in, i),
		User:         i.User,
	}
	switch i.State {
	case pod.ContainerRunning:
		st.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(i.StartedAt)}
	case pod.ContainerExited:
		st.State.Terminated = terminated(in, i)
	case pod.ContainerCreated:
		st.State.Waiting = &corev1.ContainerStateWaiting{Reason: waitingDefault(in)}
	case pod.ContainerAborted: // not shown, see container
	case pod.ContainerUnknown:
		if prior := in.PriorContainer(i.Name); prior != nil && prior.State.Running != nil && in.Ended() {
			st.State.Terminated = lost(lostAtEnd)
		} else {
			st.State.Waiting = &corev1.ContainerStateWaiting{}
		}
	}
	return st
}

// unobserved is the status of a container the runtime has no instance of: one
// that never started, or one whose instance was lost.
func unobserved(in *pod.Input, k pod.Kind, c *corev1.Container) corev1.ContainerStatus {
	st := corev1.ContainerStatus{Name: c.Name, Image: c.Image}
	st.State.Waiting = &corev1.ContainerStateWaiting{Reason: waitingDefault(in)}
	prior := in.PriorContainer(c.Name)
	if prior != nil {
		over := in.Stop != nil || in.Finished(k, c) || k == pod.KindEphemeral || k == pod.KindInit && prior.State.Terminated != nil && prior.State.Terminated.ExitCode == 0
		if prior.State.Terminated != nil && over && !in.RestartingAll() {
			return *prior
		}
		st.RestartCount, st.LastTerminationState = prior.RestartCount, prior.LastTerminationState
		// The ID keeps an older instance, if there is one, from being taken for it.
		st.ContainerID, st.ImageID = prior.ContainerID, prior.ImageID
		// An agent that has not asked yet does not know that the instance is lost.
		if in.Observed.At.IsZero() {
			return *prior
		}
		switch {
		case in.RestartingAll() && prior.State.Waiting == nil:
			st.State.Waiting = &corev1.ContainerStateWaiting{Reason: restartingAll, Message: clearedAway}
			st.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: restartingAll, Message: clearedAway, ExitCode: lostExitCode}
			st.RestartCount++
			st.ContainerID = ""
			return st
		case in.RestartingAll() && prior.State.Waiting.Reason == restartingAll:
			st.State.Waiting = prior.State.Waiting.DeepCopy()
		case prior.State.Terminated != nil:
			st.LastTerminationState = prior.State
		case prior.State.Running != nil:
			st.LastTerminationState.Terminated = lost(lostRunning)
			if in.Stop == nil {
				st.RestartCount++
			}
		}
	}
	if k == pod.KindInit && in.InitReached() == len(in.Pod.Spec.InitContainers) && !in.RestartingAll() {
		return forgotten(st)
	}
	if w := waitingReason(in, k, c); w != nil {
		st.State.Waiting = w
	}
	return st
}

// forgotten is the status of an init container that neither the runtime nor the
// API remembers, in a pod that has got to its regular containers.
func forgotten(st corev1.ContainerStatus) corev1.ContainerStatus {
	st.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", Message: initForgotten}}
	return st
}

// waitingReason says why a container that should run does not; nil when there
// is nothing special to say.
func waitingReason(in *pod.Input, k pod.Kind, c *corev1.Container) *corev1.ContainerStateWaiting {
	latest := in.Latest(c.Name)
	runs := latest != nil && latest.State == pod.ContainerRunning && !in.Instances[latest.ID].HookFailed
	if in.Stop != nil || in.Finished(k, c) || runs || in.Over() || in.RestartingAll() && !in.Cleared() {
		return nil
	}
	if missing := pod.Unsupported(in.Pod); missing != "" {
		return &corev1.ContainerStateWaiting{Reason: pod.ReasonContainerConfig, Message: missing}
	}
	if r := in.Restart(k, c); r != nil && in.Now.Before(r.At) {
		return &corev1.ContainerStateWaiting{Reason: crashLoop,
			Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", r.Delay, c.Name, pod.LongName(in.Ref))}
	}
	if use, at, failed := in.FailedImage(c); failed {
		return imageReason(use.Container, at)
	}
	if at, failed := in.FailedStart(c.Name); failed {
		return &corev1.ContainerStateWaiting{Reason: at.Reason, Message: at.Message}
	}
	return nil
}

// imageReason shows the first failure as what it was and later ones of a pull
// as the back-off they lead to.
func imageReason(c *corev1.Container, at pod.Attempt) *corev1.ContainerStateWaiting {
	if at.Count < 2 || at.Reason == "ErrImageNeverPull" || at.Reason == "InvalidImageName" || at.Reason == "ImageInspectError" {
		return &corev1.ContainerStateWaiting{Reason: at.Reason, Message: at.Message}
	}
	return &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff",
		Message: fmt.Sprintf("Back-off pulling image %q: %s: %s", c.Image, at.Reason, at.Message)}
}

func waitingDefault(in *pod.Input) string {
	if len(in.Pod.Spec.InitContainers) > 0 {
		return "PodInitializing"
	}
	return "ContainerCreating"
}

func terminated(in *pod.Input, i *pod.Container) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{
		ExitCode:    i.ExitCode,
		Reason:      i.Reason,
		Message:     cmp.Or(i.Message, published(in, i)),
		StartedAt:   metav1.NewTime(i.StartedAt),
		FinishedAt:  metav1.NewTime(i.FinishedAt),
		ContainerID: containerID(in, i),
	}
}

// published is the last message of a dead instance as its status has it. The file
// it was read from goes with the volumes of a pod that has finished.
func published(in *pod.Input, i *pod.Container) string {
	if prior := in.PriorContainer(i.Name); prior != nil {
		for _, end := range []*corev1.ContainerStateTerminated{prior.State.Terminated, prior.LastTerminationState.Terminated} {
			if end != nil && end.ContainerID == containerID(in, i) {
				return end.Message
			}
		}
	}
	return ""
}

func lost(message string) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{Reason: statusUnknown, Message: message, ExitCode: lostExitCode}
}

func containerID(in *pod.Input, i *pod.Container) string {
	return in.Node.RuntimeName + "://" + i.ID
}

// setReady sets started and ready: by the probes for what is to go on running,
// by its end for an init container. Ephemeral containers are never either.
func setReady(in *pod.Input, k pod.Kind, c *corev1.Container, st *corev1.ContainerStatus) {
	if k == pod.KindEphemeral {
		st.Started, st.Ready = nil, false
		return
	}
	latest := in.Latest(c.Name)
	if latest == nil && st.State.Running != nil {
		return // the runtime was not asked yet: as published
	}
	started := st.State.Running != nil && in.Started(c, latest)
	st.Started, st.Ready = &started, started && in.Ready(c, latest)
	if k == pod.KindInit {
		st.Ready = st.State.Terminated != nil && st.State.Terminated.ExitCode == 0
	}
}

func volumeMounts(in *pod.Input, c *corev1.Container) []corev1.VolumeMountStatus {
	var list []corev1.VolumeMountStatus
	for _, m := range c.VolumeMounts {
		vs := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			vs.RecursiveReadOnly = new(recursiveMode(in, m))
		}
		list = append(list, vs)
	}
	return list
}

// recursiveMode is what becomes of the mount's wish: "if possible" depends on
// the runtime (KEP-3857).
func recursiveMode(in *pod.Input, m corev1.VolumeMount) corev1.RecursiveReadOnlyMode {
	switch {
	case m.RecursiveReadOnly == nil:
		return corev1.RecursiveReadOnlyDisabled
	case *m.RecursiveReadOnly == corev1.RecursiveReadOnlyIfPossible && !in.Node.RecursiveReadOnly:
		return corev1.RecursiveReadOnlyDisabled
	case *m.RecursiveReadOnly == corev1.RecursiveReadOnlyIfPossible:
		return corev1.RecursiveReadOnlyEnabled
	}
	return *m.RecursiveReadOnly
}
