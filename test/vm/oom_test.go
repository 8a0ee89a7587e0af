//go:build vm

package vm

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// testOOM: a container whose process, or a child of it, takes too much memory has
// ended as the kernel's victim.
func (u *under) testOOM(t *testing.T) {
	for name, command := range map[string]string{
		"oom-self":  "exec tail /dev/zero",
		"oom-child": "tail /dev/zero; sleep 1000000",
	} {
		p := podOf(name, resources(t, "- 16Mi", "- 16Mi"))
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers[0].Command = []string{"sh", "-c", command}
		u.create(t, p)
		p = u.await(t, name, "over", func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
		})
		end := p.Status.ContainerStatuses[0].State.Terminated
		if end == nil || end.Reason != "OOMKilled" || end.ExitCode != 137 {
			t.Errorf("%s ended with %+v, want OOMKilled with exit code 137", name, end)
		}
		u.remove(t, name, 0)
		if end == nil {
			continue
		}
		u.facts.put("oom", name, "end", fmt.Sprintf("%s %d, pod %s", end.Reason, end.ExitCode, p.Status.Phase))
	}
}
