//go:build vm

package vm

import (
	"fmt"
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// testReboot: after a sudden reboot every pod runs again, in the same cgroups, and
// what was over stays over.
func (u *under) testReboot(t *testing.T) {
	before := maps.Clone(u.pods(t))
	cgroups := u.byPlace(t, before)
	must(t, "rebooting", u.Machine.Crash(t.Context()))
	must(t, "waiting for the node", u.WaitReady(t.Context()))
	for name, was := range before {
		p := u.await(t, name, "ready in new containers", func(p *corev1.Pod) bool { return bedtest.Ready(p) && renewed(was, p) })
		role := u.role(p)
		u.facts.put("reboot", role, "phase", string(p.Status.Phase))
		for i, c := range statuses(p) {
			u.facts.put("reboot", role+"/"+c.Name, "restarts", fmt.Sprint(c.RestartCount-statuses(was)[i].RestartCount))
			last := "none"
			if end := c.LastTerminationState.Terminated; end != nil {
				last = fmt.Sprintf("%s %d", end.Reason, end.ExitCode)
			}
			u.facts.put("reboot", role+"/"+c.Name, "last state", last)
		}
		if was.UID != p.UID && was.Annotations["kubernetes.io/config.mirror"] == "" {
			t.Errorf("pod %s is another one", name)
		}
	}
	u.awaitShares(t, cgroups, u.pods(t))
	changed(t, "the reboot", cgroups, u.byPlace(t, u.pods(t)))
	once, err := u.Bed.Client().CoreV1().Pods(namespace).Get(t.Context(), "once", metav1.GetOptions{})
	must(t, "reading pod once", err)
	if once.Status.Phase != corev1.PodSucceeded || once.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the pod that was done is %s, restarts %d", once.Status.Phase, once.Status.ContainerStatuses[0].RestartCount)
	}
}

// renewed reports whether no container runs that ran before.
func renewed(was, now *corev1.Pod) bool {
	old := map[string]bool{}
	for _, c := range was.Status.ContainerStatuses {
		old[c.ContainerID] = true
	}
	for _, c := range now.Status.ContainerStatuses {
		if old[c.ContainerID] || c.State.Running == nil {
			return false
		}
	}
	return len(now.Status.ContainerStatuses) > 0
}
