package podstatus

import (
	"encoding/json"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func input(p *corev1.Pod) *pod.Input {
	p.Name, p.Namespace, p.UID = "p", "ns", "u"
	return &pod.Input{
		Now: now, Ref: pod.RefOf(p), Spec: pod.Spec{Pod: p, Source: pod.SourceAPI},
		Observed: pod.Observation{At: now}, Node: pod.Node{RuntimeName: "r"},
	}
}

func onePod() *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c"}}}}
}

func TestResourcesOfThePod(t *testing.T) {
	p := onePod()
	if got, err := json.Marshal(Compute(input(p)).Resources); err != nil || string(got) != "{}" {
		t.Errorf("a pod that asks for nothing: %s, %v", got, err)
	}
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}, Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")},
	}
	p.Spec.Containers = append(p.Spec.Containers, *p.Spec.Containers[0].DeepCopy())
	s := Compute(input(p))
	if s.Resources.Requests.Cpu().Value() != 2 || s.Resources.Limits.Cpu().Value() != 4 || s.AllocatedResources.Cpu().Value() != 2 {
		t.Errorf("resources %+v, allocated %+v", s.Resources, s.AllocatedResources)
	}
	if p.Spec.Resources != nil {
		t.Errorf("the spec was changed: %+v", p.Spec.Resources)
	}
}

// The kubelet writes the beginning of time where the runtime knows a container
// that never started, and nothing where the container was lost.
func TestStartOfWhatNeverStarted(t *testing.T) {
	in := input(onePod())
	in.Observed.Containers = []pod.Container{{
		ID: "id", Name: "c", State: pod.ContainerExited, ExitCode: 128, Reason: "StartError", CreatedAt: now, FinishedAt: now,
	}}
	got := Compute(in).ContainerStatuses[0].State.Terminated
	if raw, err := json.Marshal(got.StartedAt); err != nil || string(raw) != `"1970-01-01T00:00:00Z"` {
		t.Errorf("never started: %s, %v", raw, err)
	}
	in = input(onePod())
	in.Stop = &pod.Stop{Deadline: now, Delete: true}
	got = Compute(in).ContainerStatuses[0].State.Terminated
	if got == nil || !got.StartedAt.IsZero() {
		t.Errorf("lost: %+v", got)
	}
}

// A runtime that is removing a container answers, but without its user.
func TestUserStaysKnown(t *testing.T) {
	in := input(onePod())
	user := &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: 7}}
	dead := pod.Container{ID: "id", Name: "c", State: pod.ContainerExited, CreatedAt: now, StartedAt: now, FinishedAt: now}
	in.Prior.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", ContainerID: "r://id", User: user}}
	in.Observed.Containers = []pod.Container{dead}
	if got := Compute(in).ContainerStatuses[0].User; got == nil || got.Linux.UID != 7 {
		t.Errorf("the user is lost: %+v", got)
	}
	in.Prior.ContainerStatuses[0].ContainerID = "r://other"
	if got := Compute(in).ContainerStatuses[0].User; got != nil {
		t.Errorf("another container's user: %+v", got)
	}
}

func TestRemovingAStoppedSandboxIsNotTold(t *testing.T) {
	in := input(onePod())
	in.Stop = &pod.Stop{Deadline: now, Delete: true}
	const stopped = "pod sandbox is not ready"
	in.Prior.Conditions = []corev1.PodCondition{{
		Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse, Reason: "PodSandboxNotReady", Message: stopped, LastTransitionTime: metav1.NewTime(now),
	}}
	if got := pod.Condition(Compute(in).Conditions, corev1.PodReadyToStartContainers); got.Message != stopped {
		t.Errorf("the message changed to %q", got.Message)
	}
	in.Stop = nil
	if got := pod.Condition(Compute(in).Conditions, corev1.PodReadyToStartContainers); got.Message == stopped {
		t.Errorf("a pod that goes on needs a sandbox: %q", got.Message)
	}
}
