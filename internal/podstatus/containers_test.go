package podstatus_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/podstatus"
)

// state puts a container state into words.
func state(s corev1.ContainerState) string {
	switch {
	case s.Running != nil:
		return "running"
	case s.Terminated != nil:
		return fmt.Sprintf("exited %d %s: %s", s.Terminated.ExitCode, s.Terminated.Reason, s.Terminated.Message)
	case s.Waiting != nil:
		return fmt.Sprintf("waiting %s: %s", s.Waiting.Reason, s.Waiting.Message)
	}
	return "none"
}

func image(reason, message string, count int) func(in *pod.Input) {
	return attempt(pod.Work{Target: pod.ImageTarget("c0"), Verb: pod.VerbEnsureImage}, reason, message, count)
}

func startFailed(reason, message string) func(in *pod.Input) {
	return attempt(pod.Work{Target: pod.ContainerTarget("c0"), Verb: pod.VerbStartContainer}, reason, message, 1)
}

func attempt(w pod.Work, reason, message string, count int) func(in *pod.Input) {
	return func(in *pod.Input) {
		in.Attempts[w] = pod.Attempt{Reason: reason, Message: message, Count: count, At: at}
	}
}

func crashed(times int, ago time.Duration) func(in *pod.Input) {
	return func(in *pod.Input) {
		c := &in.Observed.Containers[0]
		c.CrashCount, c.Attempt, c.FinishedAt = times, times, at.Add(-ago)
	}
}

const (
	lostAtEnd   = "exited 137 ContainerStatusUnknown: The container could not be located when the pod was terminated"
	lostRunning = "exited 137 ContainerStatusUnknown: The container could not be located when the pod was deleted.  The container used to be Running"
)

func stop(in *pod.Input) { in.Stop = &pod.Stop{Delete: true} }

func TestContainerStates(t *testing.T) {
	for name, c := range map[string]struct {
		in          *pod.Input
		change      []func(in *pod.Input)
		state, last string
		restarts    int32
	}{
		"never started":            {in: given(always, "new"), state: "waiting ContainerCreating: ", last: "none"},
		"made":                     {in: given(always, "made"), state: "waiting ContainerCreating: ", last: "none"},
		"runs":                     {in: given(always, "run"), state: "running", last: "none"},
		"exited, may restart now":  {in: given(always, "1"), state: "exited 1 Error: ", last: "none"},
		"exited for good":          {in: given(never, "0"), state: "exited 0 Completed: ", last: "none"},
		"crash loop, first wait":   {in: given(always, "1"), change: []func(*pod.Input){crashed(1, time.Second)}, state: "waiting CrashLoopBackOff: back-off 10s restarting failed container=c0 pod=p_ns(u)", last: "exited 1 Error: ", restarts: 1},
		"crash loop, longest wait": {in: given(always, "1"), change: []func(*pod.Input){crashed(9, time.Second)}, state: "waiting CrashLoopBackOff: back-off 5m0s restarting failed container=c0 pod=p_ns(u)", last: "exited 1 Error: ", restarts: 9},
		"crash loop, capped":       {in: given(always, "1"), change: []func(*pod.Input){crashed(9, time.Second), func(in *pod.Input) { in.Node.MaxBackoff = time.Minute }}, state: "waiting CrashLoopBackOff: back-off 1m0s restarting failed container=c0 pod=p_ns(u)", last: "exited 1 Error: ", restarts: 9},
		"crash loop, wait is over": {in: given(always, "1"), change: []func(*pod.Input){crashed(1, 10*time.Second)}, state: "exited 1 Error: ", last: "none", restarts: 1},
		"crash loop, but stopped":  {in: given(always, "1"), change: []func(*pod.Input){crashed(1, time.Second), stop}, state: "exited 1 Error: ", last: "none", restarts: 1},
		"pull failed once":         {in: given(always, "new"), change: []func(*pod.Input){image("ErrImagePull", "no such host", 1)}, state: "waiting ErrImagePull: no such host", last: "none"},
		"pull failed again":        {in: given(always, "new"), change: []func(*pod.Input){image("ErrImagePull", "no such host", 2)}, state: `waiting ImagePullBackOff: Back-off pulling image "image": ErrImagePull: no such host`, last: "none"},
		"never pulled":             {in: given(always, "new"), change: []func(*pod.Input){image("ErrImageNeverPull", "not there", 9)}, state: "waiting ErrImageNeverPull: not there", last: "none"},
		"bad image name":           {in: given(always, "new"), change: []func(*pod.Input){image("InvalidImageName", "no", 9)}, state: "waiting InvalidImageName: no", last: "none"},
		"pull failed on restart":   {in: given(always, "1"), change: []func(*pod.Input){image("ErrImagePull", "m", 1)}, state: "waiting ErrImagePull: m", last: "exited 1 Error: "},
		"create failed":            {in: given(always, "new"), change: []func(*pod.Input){startFailed("CreateContainerError", "m")}, state: "waiting CreateContainerError: m", last: "none"},
		"config wrong":             {in: given(always, "made"), change: []func(*pod.Input){startFailed("CreateContainerConfigError", "m")}, state: "waiting CreateContainerConfigError: m", last: "none"},
		"failed, but runs by now":  {in: given(always, "run"), change: []func(*pod.Input){startFailed("CreateContainerError", "m")}, state: "running", last: "none"},
		"failed, and stopped":      {in: given(always, "new"), change: []func(*pod.Input){startFailed("CreateContainerError", "m"), stop}, state: lostAtEnd, last: "none"},
		"not supported":            {in: given(always, "new"), change: []func(*pod.Input){func(in *pod.Input) { in.Pod.Spec.ResourceClaims = make([]corev1.PodResourceClaim, 1) }}, state: "waiting CreateContainerConfigError: not supported by this version of nodeagent: resourceClaims", last: "none"},
		"init containers": {in: given(always, "made"), change: []func(*pod.Input){func(in *pod.Input) {
			in.Pod.Spec.InitContainers = make([]corev1.Container, 1)
			stop(in)
			op("X", true)(in)
		}}, state: "waiting PodInitializing: ", last: "none"},
		"lost while it ran":         {in: given(always, "lost"), state: "waiting ContainerCreating: ", last: lostRunning, restarts: 1},
		"lost at the end":           {in: given(always, "lost"), change: []func(*pod.Input){stop}, state: lostAtEnd, last: lostRunning},
		"never started, stopped":    {in: given(always, "new"), change: []func(*pod.Input){stop}, state: lostAtEnd, last: "none"},
		"unknown":                   {in: given(always, "unknown"), state: "waiting : ", last: "none"},
		"lost, nobody looked yet":   {in: given(always, "lost"), change: []func(*pod.Input){func(in *pod.Input) { in.Observed = pod.Observation{} }}, state: "running", last: "none"},
		"ended and forgotten":       {in: given(never, "new"), change: []func(*pod.Input){endedBefore(0)}, state: "exited 0 Completed: gone", last: "none", restarts: 4},
		"to restart, but forgotten": {in: given(always, "new"), change: []func(*pod.Input){endedBefore(1)}, state: "waiting ContainerCreating: ", last: "exited 1 Completed: gone", restarts: 4},
		"stopped and forgotten":     {in: given(always, "new"), change: []func(*pod.Input){endedBefore(1), stop}, state: "exited 1 Completed: gone", last: "none", restarts: 4},
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range c.change {
				f(c.in)
			}
			st := podstatus.Compute(c.in).ContainerStatuses[0]
			if got := state(st.State); got != c.state {
				t.Errorf("state: got %q, want %q", got, c.state)
			}
			if got := state(st.LastTerminationState); got != c.last {
				t.Errorf("last state: got %q, want %q", got, c.last)
			}
			if st.RestartCount != c.restarts {
				t.Errorf("restarts: got %d, want %d", st.RestartCount, c.restarts)
			}
			if up := st.State.Running != nil; st.Ready != up && c.in.Observed.At.Equal(at) || st.Started != nil && *st.Started != st.Ready {
				t.Errorf("ready %t, started %v in state %s", st.Ready, st.Started, state(st.State))
			}
		})
	}
}

// endedBefore: the status says the container ended, the runtime has forgotten it.
func endedBefore(code int32) func(in *pod.Input) {
	return func(in *pod.Input) {
		in.Prior.ContainerStatuses = []corev1.ContainerStatus{{Name: "c0", RestartCount: 4, ContainerID: "containerd://gone",
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Completed", Message: "gone"}}}}
	}
}

func TestRestartCountNeverGoesBack(t *testing.T) {
	for _, words := range []string{"new", "run", "0", "1", "crash", "lost", "made", "unknown"} {
		for _, stopped := range []bool{false, true} {
			in := given(always, words)
			if stopped {
				stop(in)
			}
			in.Prior.ContainerStatuses = []corev1.ContainerStatus{{Name: "c0", RestartCount: 5, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
			if got := podstatus.Compute(in).ContainerStatuses[0].RestartCount; got < 5 {
				t.Errorf("container %s, stopped %t: %d after 5", words, stopped, got)
			}
		}
	}
}

func TestLastStateIsThePreviousInstance(t *testing.T) {
	in := given(always, "run")
	in.Observed.Containers[0].Attempt = 2
	for i, code := range []int32{3, 4} {
		in.Observed.Containers = append(in.Observed.Containers, pod.Container{ID: fmt.Sprint("old", i), Name: "c0", Attempt: i,
			State: pod.ContainerExited, ExitCode: code, CreatedAt: start.Add(-time.Hour), StartedAt: start.Add(-time.Hour), FinishedAt: start})
	}
	in.Observed.Sort()
	st := podstatus.Compute(in).ContainerStatuses[0]
	if got := st.LastTerminationState.Terminated; got == nil || got.ExitCode != 4 || got.ContainerID != "containerd://old1" {
		t.Errorf("with the instance: %+v", got)
	}
	// Without it the status last published tells.
	in.Observed.Containers = in.Observed.Containers[:1]
	in.Prior.ContainerStatuses = []corev1.ContainerStatus{st}
	in.Prior.ContainerStatuses[0].RestartCount, in.Prior.ContainerStatuses[0].ContainerID = 1, "containerd://old1"
	in.Prior.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 9}}
	if got := podstatus.Compute(in).ContainerStatuses[0].LastTerminationState.Terminated; got == nil || got.ExitCode != 9 {
		t.Errorf("without the instance: %+v", got)
	}
}

func TestContainerDetails(t *testing.T) {
	in := given(always, "run", "run")
	in.Pod.Spec.Containers[0].Name, in.Pod.Spec.Containers[1].Name = "b", "a"
	for i, name := range []string{"b", "a"} {
		in.Observed.Containers[i].Name = name
	}
	in.Observed.Containers[0].ImageID = "sha256:1"
	in.Pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v", ReadOnly: true}, {Name: "w", MountPath: "/w"}}
	list := podstatus.Compute(in).ContainerStatuses
	if list[0].Name != "a" || list[1].Name != "b" {
		t.Fatalf("not sorted by name: %s, %s", list[0].Name, list[1].Name)
	}
	b := list[1]
	if b.ContainerID != "containerd://id-c0" || b.ImageID != "sha256:1" || b.Image != "image" || b.State.Running.StartedAt.Nanosecond() != 0 {
		t.Errorf("got %+v", b)
	}
	if len(b.VolumeMounts) != 2 || b.VolumeMounts[0].RecursiveReadOnly == nil || b.VolumeMounts[1].RecursiveReadOnly != nil {
		t.Errorf("mounts: %+v", b.VolumeMounts)
	}
}

func TestMessageOutlivesItsFile(t *testing.T) {
	in := given(never, "1")
	in.Observed.Containers[0].Message = "last words"
	in.Prior = podstatus.Compute(in)
	in.Observed.Containers[0].Message = ""
	if got := podstatus.Compute(in).ContainerStatuses[0].State.Terminated; got == nil || got.Message != "last words" {
		t.Errorf("ended with %+v", got)
	}
}

// TestDoubtIsNotShown: what a resize may have changed is noted with requests that
// nobody can ask for; users see what it is to become.
func TestDoubtIsNotShown(t *testing.T) {
	in := given(always, "run")
	c := &in.Pod.Spec.Containers[0]
	c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
	in.Actuated = pod.Actuation{}.Doubting(pod.ContainerResize{Container: c, To: pod.Sizes{CPURequest: 2000}})
	got := podstatus.Compute(in).ContainerStatuses[0].Resources.Requests[corev1.ResourceCPU]
	if len(in.Resizes()) != 1 || got.Value() != 2 {
		t.Errorf("%d resizes, and the CPU request is %s", len(in.Resizes()), &got)
	}
}
