//go:build e2e

package lifecycle

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// untilTERM says what it is when it is told to end, and ends with 0.
func untilTERM(name string) string {
	return "trap 'say " + name + " ends; exit 0' TERM; touch /d/" + name + "-up; while :; do sleep 0.1 & wait $!; done"
}

// TestSidecarStart: what follows a sidecar begins when its startup probe has
// succeeded, or at once if it has none.
func TestSidecarStart(t *testing.T) {
	t.Parallel()
	s := sidecar(sh("s", "say s; "+obeys))
	s.StartupProbe = probe(execHandler("test -e /d/ok"))
	s.StartupProbe.FailureThreshold = 600
	l := live(t, withInit(newPod("sidecar-start", always, sh("c", "say c; "+obeys)), s, sh("i", "say i"), sidecar(sh("z", obeys))))
	p := l.until("running s", running("s"))
	wantFlags(t, p, "s", false, false)
	wantPhase(t, p, corev1.PodPending)
	wantCondition(t, p, corev1.PodInitialized, corev1.ConditionFalse, "ContainersNotInitialized", "containers with incomplete status: [s i z]")
	l.event(warning, "Unhealthy", "s", "Startup probe failed: ")
	l.said("s")
	l.put("ok", "")
	p = l.until("ready", ready)
	wantReady(t, p)
	wantFlags(t, p, "s", true, true)
	wantFlags(t, p, "z", true, true)
	wantFlags(t, p, "i", true, false)
	wantExit(t, "init container i", status(p, "i").State, 0, "Completed")
	l.said("s", "i", "c")
	l.never("beyond s before that had started", func(p *corev1.Pod) bool {
		s := status(p, "s").Started
		return (s == nil || !*s) && status(p, "i").ContainerID != ""
	})
	l.never("running c before z", func(p *corev1.Pod) bool { return running("c")(p) && status(p, "z").ContainerID == "" })
}

// TestSidecarRestarts: a sidecar that ends while the pod runs is started again,
// whatever the pod's policy and its exit code; it alone.
func TestSidecarRestarts(t *testing.T) {
	for _, policy := range []corev1.RestartPolicy{always, onFailure, never} {
		for _, code := range []string{"0", "5"} {
			name := "sidecar-restarts-" + strings.ToLower(string(policy)) + "-" + code
			t.Run(string(policy)+"/"+code, func(t *testing.T) {
				t.Parallel()
				l := live(t, withInit(newPod(name, policy, sh("c", obeys)),
					sidecar(sh("s", "test -e /d/x || { hold x; exit "+code+"; }; "+obeys)), sh("i", "say i"), sidecar(sh("z", obeys))))
				first := l.until("ready", ready)
				l.put("x", "")
				p := l.until("restarted", all(restarted("s", 1), ready))
				end := status(p, "s").LastTerminationState.Terminated
				if want := int32(code[0] - '0'); end == nil || end.ExitCode != want || end.ContainerID != status(first, "s").ContainerID {
					t.Errorf("the sidecar's last end: %+v, want exit code %d of the first container", end, want)
				}
				wantPhase(t, p, corev1.PodRunning)
				wantFlags(t, p, "s", true, true)
				for _, c := range []string{"i", "z", "c"} {
					if status(p, c).ContainerID != status(first, c).ContainerID || status(p, c).RestartCount != 0 {
						t.Errorf("container %s was restarted, too", c)
					}
				}
				l.said("i")
			})
		}
	}
}

// TestSidecarsEnd: sidecars do not keep a pod from its end. They end after the
// others and in the reverse order; their preStop hooks run first.
func TestSidecarsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		policy corev1.RestartPolicy
		code   string
		phase  corev1.PodPhase
	}{
		"never-0":     {never, "0", corev1.PodSucceeded},
		"never-1":     {never, "1", corev1.PodFailed},
		"onfailure-0": {onFailure, "0", corev1.PodSucceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, z := sidecar(sh("s", untilTERM("s"))), sidecar(sh("z", untilTERM("z")))
			s.Lifecycle = &corev1.Lifecycle{PreStop: hook(execHandler("say s stops"))}
			z.Lifecycle = &corev1.Lifecycle{PreStop: hook(execHandler("say z stops"))}
			l := live(t, withGrace(withInit(newPod("sidecars-end-"+name, c.policy,
				sh("c", "hold s-up; hold z-up; say c ends; exit "+c.code)), s, z), 30))
			p := l.until(string(c.phase), func(p *corev1.Pod) bool { return p.Status.Phase == c.phase })
			wantExit(t, "sidecar s", status(p, "s").State, 0, "Completed")
			wantExit(t, "sidecar z", status(p, "z").State, 0, "Completed")
			inOrder(t, l, "c ends", "z ends", "s ends")
			inOrder(t, l, "c ends", "s stops", "s ends")
			inOrder(t, l, "c ends", "z stops", "z ends")
			if n := len(l.lines()); n != 5 {
				t.Errorf("the containers said %q, want five lines", l.lines())
			}
			wantRestarts(t, p, "s", 0)
			wantRestarts(t, p, "z", 0)
			l.event(normal, "Killing", "s", "Stopping container s")
			l.event(normal, "Killing", "z", "Stopping container z")
		})
	}
}

// inOrder checks that the containers said the lines in this order, others
// between them.
func inOrder(t *testing.T, l *life, want ...string) {
	t.Helper()
	lines, at := l.lines(), -1
	for _, w := range want {
		i := slices.Index(lines, w)
		if i <= at {
			t.Errorf("the containers said %q, want %q in this order", lines, want)
			return
		}
		at = i
	}
}

// TestSidecarsKilled: how a sidecar ends says nothing about the pod.
func TestSidecarsKilled(t *testing.T) {
	t.Parallel()
	l := live(t, withInit(newPod("sidecars-killed", never, sh("c", "hold up")), sidecar(sh("s", "trap '' TERM; touch /d/up; while :; do sleep 0.1; done"))))
	p := l.until("succeeded", succeeded)
	wantExit(t, "the sidecar", status(p, "s").State, 137, "Error")
	for _, kind := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady} {
		wantCondition(t, p, kind, corev1.ConditionFalse, "PodCompleted", "")
	}
	wantCondition(t, p, corev1.PodInitialized, corev1.ConditionTrue, "PodCompleted", "")
}

// TestSidecarsDeleted: the order of a completed pod is that of a deleted one.
func TestSidecarsDeleted(t *testing.T) {
	t.Parallel()
	l := live(t, withGrace(withInit(newPod("sidecars-deleted", always, sh("c", untilTERM("c")), sh("d", untilTERM("d"))),
		sidecar(sh("s", untilTERM("s"))), sh("i", "true"), sidecar(sh("z", untilTERM("z")))), 30))
	p := l.until("ready", ready)
	for _, c := range []string{"s", "z", "c", "d"} {
		l.exists(c + "-up")
	}
	l.delete(-1)
	l.ended(p)
	inOrder(t, l, "c ends", "z ends", "s ends")
	inOrder(t, l, "d ends", "z ends", "s ends")
}

// TestSidecarReadiness: the pod is ready when its sidecars are.
func TestSidecarReadiness(t *testing.T) {
	t.Parallel()
	s := sidecar(sh("s", obeys))
	s.ReadinessProbe = probe(execHandler("test -e /d/ok"))
	l := live(t, withInit(newPod("sidecar-readiness", always, sh("c", obeys)), s))
	p := l.until("running", func(p *corev1.Pod) bool { return status(p, "c").Ready })
	wantPhase(t, p, corev1.PodRunning)
	wantUnready(t, p, "s")
	wantFlags(t, p, "s", false, true)
	wantCondition(t, p, corev1.PodInitialized, corev1.ConditionTrue, "", "")
	l.put("ok", "")
	p = l.until("ready", ready)
	wantFlags(t, p, "s", true, true)
	l.take("ok")
	p = l.until("not ready", notReady)
	wantUnready(t, p, "s")
	wantFlags(t, p, "c", true, true)
	l.never("restarted", func(p *corev1.Pod) bool { return status(p, "s").RestartCount > 0 })
}
