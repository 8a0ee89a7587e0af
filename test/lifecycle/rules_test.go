//go:build e2e

package lifecycle

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

const (
	containerAlways    = corev1.ContainerRestartPolicyAlways
	containerOnFailure = corev1.ContainerRestartPolicyOnFailure
	containerNever     = corev1.ContainerRestartPolicyNever

	in    = corev1.ContainerRestartRuleOnExitCodesOpIn
	notIn = corev1.ContainerRestartRuleOnExitCodesOpNotIn
)

// on is a rule about exit codes.
func on(action corev1.ContainerRestartRuleAction, op corev1.ContainerRestartRuleOnExitCodesOperator, codes ...int32) corev1.ContainerRestartRule {
	return corev1.ContainerRestartRule{Action: action, ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: op, Values: codes}}
}

func restartOn(op corev1.ContainerRestartRuleOnExitCodesOperator, codes ...int32) corev1.ContainerRestartRule {
	return on(corev1.ContainerRestartRuleActionRestart, op, codes...)
}

// exits is a script that ends with the first code the first time and with the
// second code then.
func exits(first, then string) string {
	return "say try; test -e /d/x && exit " + then + "; touch /d/x; exit " + first
}

// TestContainerPolicies: a container's own policy goes before the pod's, its
// rules before both. The last end is one after which nothing is restarted.
func TestContainerPolicies(t *testing.T) {
	for name, c := range map[string]struct {
		policy    corev1.RestartPolicy
		container corev1.Container
		phase     corev1.PodPhase
		restarts  int32
		last      int32
	}{
		"rule in":           {never, restarting(sh("a", exits("42", "1")), containerNever, restartOn(in, 41, 42)), corev1.PodFailed, 1, 1},
		"rule in, not hit":  {never, restarting(sh("a", exits("43", "0")), containerNever, restartOn(in, 41, 42)), corev1.PodFailed, 0, 43},
		"rule not in":       {never, restarting(sh("a", exits("7", "3")), containerNever, restartOn(notIn, 0, 3)), corev1.PodFailed, 1, 3},
		"rule for success":  {onFailure, restarting(sh("a", exits("0", "5")), containerNever, restartOn(in, 0)), corev1.PodFailed, 1, 5},
		"second rule":       {never, restarting(sh("a", exits("9", "0")), containerNever, restartOn(in, 1), restartOn(in, 9)), corev1.PodSucceeded, 1, 0},
		"on failure":        {never, restarting(sh("a", exits("4", "0")), containerOnFailure), corev1.PodSucceeded, 1, 0},
		"never, though pod": {always, restarting(sh("a", exits("4", "0")), containerNever), corev1.PodFailed, 0, 4},
		"never and well":    {always, restarting(sh("a", exits("0", "0")), containerNever), corev1.PodSucceeded, 0, 0},
		"rule and policy":   {never, restarting(sh("a", exits("4", "0")), containerOnFailure, restartOn(in, 8)), corev1.PodSucceeded, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := live(t, newPod("rules-"+dashes(name), c.policy, c.container))
			p := l.until(string(c.phase), func(p *corev1.Pod) bool { return p.Status.Phase == c.phase })
			wantRestarts(t, p, "a", c.restarts)
			reason := map[bool]string{true: "Completed", false: "Error"}[c.last == 0]
			wantExit(t, "the container", status(p, "a").State, c.last, reason)
			l.said([]string{"try", "try"}[:c.restarts+1]...)
			l.never("at its end before", func(p *corev1.Pod) bool {
				return (failed(p) || succeeded(p)) && status(p, "a").RestartCount != c.restarts
			})
		})
	}
}

// TestContainerAlways: a container that is always restarted keeps a pod alive
// that never restarts the others.
func TestContainerAlways(t *testing.T) {
	t.Parallel()
	l := live(t, newPod("rules-always", never, restarting(sh("a", exits("0", "0")), containerAlways), sh("b", "exit 6")))
	p := l.until("in CrashLoopBackOff", all(waiting("a", "CrashLoopBackOff"), terminated("b")))
	wantPhase(t, p, corev1.PodRunning)
	wantRestarts(t, p, "a", 1)
	wantRestarts(t, p, "b", 0)
	wantExit(t, "container b", status(p, "b").State, 6, "Error")
	wantUnready(t, p, "a b")
	l.never("at its end", func(p *corev1.Pod) bool { return failed(p) || succeeded(p) })
}

// TestContainerNever: a container that is never restarted stays where it ended,
// the rest of the pod goes on.
func TestContainerNever(t *testing.T) {
	t.Parallel()
	l := live(t, newPod("rules-never", always, restarting(sh("a", "exit 6"), containerNever), sh("b", exits("7", "0")+"; "+obeys)))
	p := l.until("with b in CrashLoopBackOff", waiting("b", "CrashLoopBackOff"))
	wantPhase(t, p, corev1.PodRunning)
	wantExit(t, "container a", status(p, "a").State, 6, "Error")
	wantRestarts(t, p, "a", 0)
	wantUnready(t, p, "a b")
}

// TestInitPolicies: init containers have policies and rules, too.
func TestInitPolicies(t *testing.T) {
	t.Run("never", func(t *testing.T) {
		t.Parallel()
		l := live(t, withInit(newPod("rules-init-never", always, sh("c", "say c")), restarting(sh("a", "exit 3"), containerNever)))
		p := l.until("failed", failed)
		wantExit(t, "the init container", status(p, "a").State, 3, "Error")
		wantWaiting(t, p, "c", "PodInitializing")
		wantRestarts(t, p, "a", 0)
	})
	t.Run("rule", func(t *testing.T) {
		t.Parallel()
		l := live(t, withInit(newPod("rules-init-rule", never, sh("c", "say c")),
			restarting(sh("a", exits("42", "0")), containerNever, restartOn(in, 42))))
		p := l.until("succeeded", succeeded)
		wantExit(t, "the init container", status(p, "a").State, 0, "Completed")
		wantExit(t, "the init container's first try", status(p, "a").LastTerminationState, 42, "Error")
		wantRestarts(t, p, "a", 1)
		l.said("try", "try", "c")
	})
}

// TestRestartAll: one container's exit makes all of them begin again, init
// containers included, in the sandbox they have.
func TestRestartAll(t *testing.T) {
	t.Parallel()
	const removed = "The container is removed because RestartAllContainers in place"
	rule := on(corev1.ContainerRestartRuleActionRestartAllContainers, in, 88)
	p := withInit(newPod("restart-all", never,
		restarting(sh("a", "say a; test -e /d/x || { hold x; exit 88; }; "+obeys), containerNever, rule), sh("b", "say b; "+ignores)),
		sh("i", "say i"), sidecar(sh("s", obeys)))
	l := live(t, withGrace(p, 30))
	first := l.until("ready", ready)
	wantCondition(t, first, corev1.AllContainersRestarting, corev1.ConditionFalse, "", "")
	l.put("x", "")
	p = l.until("restarting all", func(p *corev1.Pod) bool {
		return condition(p, corev1.AllContainersRestarting).Status == corev1.ConditionTrue
	})
	wantCondition(t, p, corev1.AllContainersRestarting, corev1.ConditionTrue, "RestartAllContainersStarted", "container exited with restart policy rule")
	wantPhase(t, p, corev1.PodRunning)
	p = l.until("ready again", all(ready, func(p *corev1.Pod) bool {
		return condition(p, corev1.AllContainersRestarting).Status == corev1.ConditionFalse && status(p, "a").ContainerID != status(first, "a").ContainerID
	}))
	wantCondition(t, p, corev1.AllContainersRestarting, corev1.ConditionFalse, "", "")
	wantReady(t, p)
	for _, c := range []string{"i", "s", "a", "b"} {
		wantRestarts(t, p, c, 1)
		if status(p, c).ContainerID == status(first, c).ContainerID {
			t.Errorf("container %s was not restarted", c)
		}
		// Also of the container that gave the reason its exit code is lost.
		last := status(p, c).LastTerminationState.Terminated
		if last == nil || last.ExitCode != 137 || last.Reason != "RestartingAllContainers" || last.Message != removed {
			t.Errorf("container %s: its last state is %+v, want 137, RestartingAllContainers: %q", c, last, removed)
		}
	}
	if p.Status.PodIP == "" || p.Status.PodIP != first.Status.PodIP {
		t.Errorf("the pod had the address %s, has %s: the sandbox must be kept", first.Status.PodIP, p.Status.PodIP)
	}
	for _, c := range []string{"s", "b"} {
		l.event(normal, "Killing", c, "killing")
	}
	l.noEvent("SandboxChanged")
	l.saidLike("each line twice, i first", func(lines []string) bool {
		return len(lines) == 6 && lines[0] == "i" && lines[3] == "i"
	})
	l.never("at its end", func(p *corev1.Pod) bool { return failed(p) || succeeded(p) })
}
