//go:build e2e

package lifecycle

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestInitOrder: init containers run one after the other, the others after
// them, and the status says at every step which are missing.
func TestInitOrder(t *testing.T) {
	t.Parallel()
	l := live(t, withInit(newPod("init-order", always, sh("c", "say c; "+obeys), sh("d", obeys)),
		sh("a", "say a; hold a"), sh("b", "say b; hold b")))
	p := l.until("running a", running("a"))
	wantPhase(t, p, corev1.PodPending)
	wantCondition(t, p, corev1.PodInitialized, corev1.ConditionFalse, "ContainersNotInitialized", "containers with incomplete status: [a b]")
	wantCondition(t, p, corev1.PodReadyToStartContainers, corev1.ConditionTrue, "", "")
	wantUnready(t, p, "c d")
	wantFlags(t, p, "a", false, true)
	for _, c := range []string{"b", "c", "d"} {
		wantWaiting(t, p, c, "PodInitializing")
		wantFlags(t, p, c, false, false)
	}
	l.put("a", "")
	p = l.until("running b", running("b"))
	wantPhase(t, p, corev1.PodPending)
	wantCondition(t, p, corev1.PodInitialized, corev1.ConditionFalse, "ContainersNotInitialized", "containers with incomplete status: [b]")
	wantExit(t, "init container a", status(p, "a").State, 0, "Completed")
	wantFlags(t, p, "a", true, false)
	wantWaiting(t, p, "c", "PodInitializing")
	l.said("a", "b")
	l.put("b", "")
	p = l.until("ready", ready)
	wantReady(t, p)
	l.said("a", "b", "c")
	for _, c := range []string{"a", "b"} {
		wantExit(t, "init container "+c, status(p, c).State, 0, "Completed")
		wantFlags(t, p, c, true, false)
		wantRestarts(t, p, c, 0)
		l.event(normal, "Created", c, "Container created")
		l.event(normal, "Started", c, "Container started")
	}
	l.never("running before its init containers had ended", func(p *corev1.Pod) bool {
		return running("c")(p) && status(p, "b").State.Terminated == nil || running("b")(p) && status(p, "a").State.Terminated == nil
	})
}

// TestInitRetry: an init container that fails is tried again until it does not.
func TestInitRetry(t *testing.T) {
	for _, policy := range []corev1.RestartPolicy{always, onFailure} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			l := live(t, withInit(newPod("init-retry-"+strings.ToLower(string(policy)), policy, sh("c", "say c; exit 0")),
				sh("a", "say a; test -e /d/x || { touch /d/x; exit 3; }")))
			p := l.until("past its init container", func(p *corev1.Pod) bool { return status(p, "c").ContainerID != "" })
			wantExit(t, "the first try", status(p, "a").LastTerminationState, 3, "Error")
			wantExit(t, "the second try", status(p, "a").State, 0, "Completed")
			wantRestarts(t, p, "a", 1)
			l.saidLike("a twice, then c", func(lines []string) bool { return strings.HasPrefix(strings.Join(lines, "\n"), "a\na\nc") })
		})
	}
}

// TestInitBackOff: between the tries is the back-off that all containers have.
func TestInitBackOff(t *testing.T) {
	t.Parallel()
	l := live(t, withInit(newPod("init-backoff", always, sh("c", "say c; "+obeys)), sh("a", "say a; exit 3"), sh("b", "say b")))
	p := l.until("in CrashLoopBackOff", waiting("a", "CrashLoopBackOff"))
	wantPhase(t, p, corev1.PodPending)
	wantRestarts(t, p, "a", 1)
	wantExit(t, "the last try", status(p, "a").LastTerminationState, 3, "Error")
	wantFlags(t, p, "a", false, false)
	full := fmt.Sprintf("%s_%s(%s)", p.Name, p.Namespace, p.UID)
	if got, want := status(p, "a").State.Waiting.Message, "back-off 10s restarting failed container=a pod="+full; got != want {
		t.Errorf("message %q, want %q", got, want)
	}
	wantWaiting(t, p, "b", "PodInitializing")
	wantWaiting(t, p, "c", "PodInitializing")
	wantCondition(t, p, corev1.PodInitialized, corev1.ConditionFalse, "ContainersNotInitialized", "containers with incomplete status: [a b]")
	l.event(warning, "BackOff", "a", "Back-off restarting failed container a in pod "+full)
	p = l.until("trying a third time", func(p *corev1.Pod) bool { return status(p, "a").RestartCount == 2 })
	wantPhase(t, p, corev1.PodPending)
	l.said("a", "a", "a")
}

// TestInitFails: without restarts a failed init container is the pod's end.
func TestInitFails(t *testing.T) {
	t.Parallel()
	l := live(t, withInit(newPod("init-fails", never, sh("c", "say c")), sh("a", "say a"), sh("b", "say b; exit 4"), sh("x", "say x")))
	p := l.until("failed", failed)
	wantExit(t, "init container a", status(p, "a").State, 0, "Completed")
	wantExit(t, "init container b", status(p, "b").State, 4, "Error")
	wantFlags(t, p, "a", true, false)
	wantFlags(t, p, "b", false, false)
	for _, c := range []string{"x", "c"} {
		wantWaiting(t, p, c, "PodInitializing")
		wantFlags(t, p, c, false, false)
	}
	wantRestarts(t, p, "b", 0)
	wantCondition(t, p, corev1.PodInitialized, corev1.ConditionFalse, "ContainersNotInitialized", "containers with incomplete status: [b x]")
	for _, kind := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady} {
		wantCondition(t, p, kind, corev1.ConditionFalse, "PodFailed", "")
	}
	if p.Status.Reason != "" || p.Status.Message != "" {
		t.Errorf("the pod says %q: %q, want nothing", p.Status.Reason, p.Status.Message)
	}
	l.said("a", "b")
	l.noEvent("BackOff")
}
