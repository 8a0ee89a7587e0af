package podstatus

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"nodeagent.dev/nodeagent/internal/pod"
)

// BenchmarkCompute is what the status of one pod with two containers costs.
func BenchmarkCompute(b *testing.B) {
	for _, c := range []struct {
		name  string
		input func() *pod.Input
		phase corev1.PodPhase
	}{
		{"running", running, corev1.PodRunning},
		{"starting", func() *pod.Input { return input(twoContainers()) }, corev1.PodPending},
		{"restarted", restarted, corev1.PodRunning},
	} {
		b.Run(c.name, func(b *testing.B) {
			in := c.input()
			if in.Prior = Compute(in); in.Prior.Phase != c.phase {
				b.Fatalf("phase %s, want %s", in.Prior.Phase, c.phase)
			}
			b.ReportAllocs()
			for b.Loop() {
				Compute(in)
			}
		})
	}
}

func twoContainers() *corev1.Pod {
	p := onePod()
	p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	c := &p.Spec.Containers[0]
	c.Image, c.ReadinessProbe = "registry.test/web:1", &corev1.Probe{}
	c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	p.Spec.Containers = append(p.Spec.Containers, *c.DeepCopy())
	p.Spec.Containers[1].Name = "d"
	return p
}

func running() *pod.Input {
	in := input(twoContainers())
	in.Node.HostIPs = []string{"192.0.2.1"}
	in.Observed.Sandboxes = []pod.Sandbox{{ID: "s", Ready: true, CreatedAt: now, IPs: []string{"10.0.0.1"}}}
	in.Instances = map[string]pod.Instance{}
	for _, c := range in.Pod.Spec.Containers {
		in.Observed.Containers = append(in.Observed.Containers, pod.Container{
			ID: "id-" + c.Name, Name: c.Name, SandboxID: "s", State: pod.ContainerRunning, CreatedAt: now, StartedAt: now,
			Image: c.Image, ImageID: "sha256:1", User: &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{}},
		})
		in.Instances["id-"+c.Name] = pod.Instance{}.With(pod.ProbeReadiness, pod.VerdictSuccess)
	}
	return in
}

// restarted is the same after the end of a container, whose next instance runs.
func restarted() *pod.Input {
	in := running()
	last := in.Observed.Containers[0]
	last.ID, last.State, last.ExitCode, last.Reason, last.FinishedAt = "id-last", pod.ContainerExited, 1, "Error", now.Add(time.Second)
	in.Observed.Containers[0].Attempt = 1
	in.Observed.Containers = append(in.Observed.Containers, last)
	in.Observed.Sort()
	return in
}
