package status

import (
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BenchmarkPublish is what it costs to find that the API has the status already,
// which is what most of them come to.
func BenchmarkPublish(b *testing.B) {
	w := New(newServer(), nil, zap.NewNop())
	defer w.queue.ShutDown()
	p := newPod("a")
	p.ResourceVersion, p.Status = "7", runningStatus()
	mine := runningStatus()
	w.Publish(p, mine, false)
	b.ReportAllocs()
	for b.Loop() {
		w.Publish(p, mine, false)
	}
	if n := w.queue.Len(); n != 0 {
		b.Fatalf("%d pods are to be sent", n)
	}
}

// BenchmarkPatch is what it costs to say that a container is ready.
func BenchmarkPatch(b *testing.B) {
	e := &entry{pod: newPod("a"), base: runningStatus(), status: runningStatus()}
	e.base.ContainerStatuses[0].Ready = false
	e.base.Conditions[2].Status = corev1.ConditionFalse
	if _, err := patchFor(e); err != nil { // the library learns what a pod looks like
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if patch, err := patchFor(e); err != nil || len(patch) == 0 {
			b.Fatalf("patch %s, %v", patch, err)
		}
	}
}

// runningStatus is that of a pod with two containers; no two share memory.
func runningStatus() corev1.PodStatus {
	began := metav1.NewTime(time.Unix(1_700_000_000, 0))
	s := corev1.PodStatus{
		Phase: corev1.PodRunning, QOSClass: corev1.PodQOSBestEffort, StartTime: &began,
		HostIP: "192.0.2.1", HostIPs: []corev1.HostIP{{IP: "192.0.2.1"}}, PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}},
	}
	for _, kind := range []corev1.PodConditionType{
		corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled,
	} {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: began})
	}
	for _, name := range []string{"web", "proxy"} {
		s.ContainerStatuses = append(s.ContainerStatuses, corev1.ContainerStatus{
			Name: name, Ready: true, Started: new(true), Image: "registry.test/" + name + ":1", ImageID: "sha256:1", ContainerID: "containerd://" + name,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: began}},
			User:  &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: 1000, GID: 1000}},
		})
	}
	return s
}
