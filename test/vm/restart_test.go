//go:build vm

package vm

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// undisturbed is how long to look for what a restart may bring about later.
const undisturbed = 30 * time.Second

// testAgentRestart: pods do not notice that the agent is away, and what was
// deleted meanwhile leaves no cgroup.
func (u *under) testAgentRestart(t *testing.T) {
	pods := u.pods(t)
	before, ids, since := u.byPlace(t, pods), map[string]string{}, map[string]string{}
	for name, p := range pods {
		ids[name], since[name] = identities(p), readySince(p)
	}
	slices := map[string]string{}
	for _, name := range []string{"deleted-before", "deleted-away", "forgotten-away"} {
		u.create(t, podOf(name, resources(t, "10m 8Mi", "500m 16Mi")))
		p := u.await(t, name, "ready", bedtest.Ready)
		slices[name] = "pod" + strings.ReplaceAll(string(p.UID), "-", "_") + ".slice"
	}

	u.remove(t, "deleted-before", 1)
	u.awaitGone(t, "deleted-before")
	u.sh(t, "systemctl stop agent")
	u.remove(t, "deleted-away", 1)
	u.remove(t, "forgotten-away", 0)
	u.sh(t, "systemctl start agent")
	must(t, "restarting the agent", u.WaitReady(t.Context()))
	u.awaitGone(t, "deleted-away")
	for name, slice := range slices {
		eventually(t, "the cgroup of pod "+name+" is gone", 2*time.Minute, func() string {
			return u.sh(t, "find /sys/fs/cgroup/kubepods.slice -type d -name '*"+slice+"'")
		})
	}
	u.sh(t, "systemctl restart agent")
	must(t, "restarting the agent", u.WaitReady(t.Context()))
	wait, cancel := context.WithTimeout(t.Context(), undisturbed)
	defer cancel()
	<-wait.Done()
	pods = u.pods(t)
	for name, p := range pods {
		if now := identities(p); now != ids[name] {
			t.Errorf("pod %s was disturbed: %s, it was %s", name, now, ids[name])
		}
		// Compared, not demanded: under the kubelet a static pod became ready anew.
		u.facts.put("agent restart", u.role(p), "ready all the time", fmt.Sprint(readySince(p) == since[name]))
	}
	u.awaitShares(t, before, pods)
	changed(t, "two restarts of the agent", before, u.byPlace(t, pods))
	if left := u.sh(t, "systemctl list-units --plain --no-legend --all --state=failed 'kubepods*' 'cri-containerd*'"); left != "" {
		t.Errorf("systemd has failed units of pods: %s", left)
	}
}

// awaitShares waits until the shares of the class are as they were: they follow
// the pods, but the kubelet starts without any and sums up now and then.
func (u *under) awaitShares(t *testing.T, before settings, pods map[string]*corev1.Pod) {
	t.Helper()
	eventually(t, "the shares of the class are as before", 3*time.Minute, func() string {
		if is, was := u.byPlace(t, pods)[burstable]["cpu.weight"], before[burstable]["cpu.weight"]; is != was {
			return is + " instead of " + was
		}
		return ""
	})
}

func (n *Node) remove(t *testing.T, name string, grace int64) {
	t.Helper()
	err := n.Bed.Client().CoreV1().Pods(namespace).Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &grace})
	must(t, "deleting pod "+name, err)
}

func (n *Node) awaitGone(t *testing.T, name string) {
	t.Helper()
	eventually(t, "pod "+name+" is gone", patience, func() string {
		p, err := n.Bed.Client().CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return ""
		}
		must(t, "reading pod "+name, err)
		return "its phase is " + string(p.Status.Phase)
	})
}

// readySince is the moment at which a pod became ready.
func readySince(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return "Ready=" + string(c.Status) + " since " + c.LastTransitionTime.String()
		}
	}
	return "Ready never"
}
