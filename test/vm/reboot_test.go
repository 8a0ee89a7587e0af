//go:build vm

package vm

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// testReboot: after a sudden reboot every pod runs again, in the same cgroups, and
// what was over stays over.
func (u *under) testReboot(t *testing.T) {
	before := maps.Clone(u.pods(t))
	u.awaitShares(t, before)
	cgroups := u.byPlace(t, before)
	static := u.staticContainer(t, "")
	memory := u.memory(t)
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
	u.staticContainer(t, static)
	u.awaitShares(t, u.pods(t))
	// The kernel does not find as much memory at each boot, to the page.
	pods, _ := strconv.ParseInt(cgroups["kubepods"]["memory.max"], 10, 64)
	cgroups["kubepods"]["memory.max"] = strconv.FormatInt(pods+u.memory(t)-memory, 10)
	changed(t, "the reboot", cgroups, u.byPlace(t, u.pods(t)))
	once, err := u.Bed.Client().CoreV1().Pods(namespace).Get(t.Context(), "once", metav1.GetOptions{})
	must(t, "reading pod once", err)
	if once.Status.Phase != corev1.PodSucceeded || once.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the pod that was done is %s, restarts %d", once.Status.Phase, once.Status.ContainerStatuses[0].RestartCount)
	}
}

// staticContainer waits until the static pod's container runs, and is another
// one than old. The runtime is asked, as the API server may not know the pod.
func (u *under) staticContainer(t *testing.T, old string) string {
	t.Helper()
	id := ""
	eventually(t, "the static pod runs, in another container than "+old, patience, func() string {
		id = u.sh(t, "crictl ps -q --state running --label io.kubernetes.pod.name=static-"+u.Bed.NodeName)
		if len(strings.Fields(id)) != 1 || id == old {
			return fmt.Sprintf("the runtime has %q", id)
		}
		return ""
	})
	return id
}

// memory is what the machine has, in bytes.
func (u *under) memory(t *testing.T) int64 {
	t.Helper()
	said := u.sh(t, "awk '/^MemTotal:/ {print $2}' /proc/meminfo")
	kib, err := strconv.ParseInt(strings.TrimSpace(said), 10, 64)
	must(t, "reading how much memory there is", err)
	return kib << 10
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
