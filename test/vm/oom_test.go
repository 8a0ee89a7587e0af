//go:build vm

package vm

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// oomTries is how often a kill is tried. Where the machine is very slow, the cgroup
// of the container may be gone before the runtime has looked why it ended, and
// then the runtime says only that it was killed.
const oomTries = 6

// testOOM: a container whose process, or a child of it, takes too much memory has
// ended as the kernel's victim.
func (u *under) testOOM(t *testing.T) {
	for name, command := range map[string]string{
		"oom-self":  "exec tail /dev/zero",
		"oom-child": "tail /dev/zero; sleep 1000000",
	} {
		for try := 1; ; try++ {
			end, phase, runtime := u.takeTooMuch(t, name, command)
			if end == nil {
				t.Errorf("%s has not ended, the pod is %s", name, phase)
				break
			}
			if runtime != "" && end.Reason != runtime {
				t.Errorf("%s ended with reason %s, the runtime says %s", name, end.Reason, runtime)
			}
			if end.ExitCode != 137 {
				t.Errorf("%s ended with %+v, want exit code 137", name, end)
			}
			if end.Reason == "OOMKilled" {
				u.facts.put("oom", name, "end", fmt.Sprintf("%s %d, pod %s", end.Reason, end.ExitCode, phase))
				break
			}
			if try == oomTries {
				t.Errorf("%s ended with reason %s in each of %d tries, want OOMKilled", name, end.Reason, try)
				break
			}
			t.Logf("%s ended with reason %s, the runtime says %q: trying again", name, end.Reason, runtime)
		}
	}
}

// takeTooMuch runs a pod to its end and tells how the API server and the runtime
// say that its container ended. The pod is gone then.
func (u *under) takeTooMuch(t *testing.T, name, command string) (end *corev1.ContainerStateTerminated, phase corev1.PodPhase, runtime string) {
	t.Helper()
	p := podOf(name, resources(t, "- 16Mi", "- 16Mi"))
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	p.Spec.Containers[0].Command = []string{"sh", "-c", command}
	u.create(t, p)
	p = u.await(t, name, "over", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
	})
	c := p.Status.ContainerStatuses[0]
	runtime = u.sh(t, "crictl inspect -o go-template --template '{{.status.reason}}' "+strings.TrimPrefix(c.ContainerID, "containerd://")+" || true")
	u.remove(t, name, 0)
	u.awaitGone(t, name)
	return c.State.Terminated, p.Status.Phase, runtime
}
