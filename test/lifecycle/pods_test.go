//go:build e2e

package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	always    = corev1.RestartPolicyAlways
	onFailure = corev1.RestartPolicyOnFailure
	never     = corev1.RestartPolicyNever

	normal, warning = corev1.EventTypeNormal, corev1.EventTypeWarning
)

// prelude is what the scripts of containers may call. say is one line in /d/log,
// hold waits for a file in /d.
const prelude = `say() { echo "$*" >>/d/log; }; hold() { while [ ! -e /d/$1 ]; do sleep 0.05; done; }; `

// shell is the command of a script.
func shell(script string) []string { return []string{"sh", "-c", prelude + script} }

// sh is a container that runs a script.
func sh(name, script string) corev1.Container {
	return corev1.Container{Name: name, Image: image, Command: shell(script)}
}

// newPod is a pod with a grace of two seconds.
func newPod(name string, policy corev1.RestartPolicy, containers ...corev1.Container) *corev1.Pod {
	p := bedtest.NewPod(name, 2)
	p.Spec.RestartPolicy, p.Spec.Containers = policy, containers
	return p
}

// withInit gives a pod init containers.
func withInit(p *corev1.Pod, containers ...corev1.Container) *corev1.Pod {
	p.Spec.InitContainers = containers
	return p
}

// withGrace gives a pod another grace, in seconds.
func withGrace(p *corev1.Pod, seconds int64) *corev1.Pod {
	p.Spec.TerminationGracePeriodSeconds = &seconds
	return p
}

// sidecar makes a sidecar of an init container.
func sidecar(c corev1.Container) corev1.Container {
	return restarting(c, corev1.ContainerRestartPolicyAlways)
}

// restarting gives a container a restart policy of its own, and rules.
func restarting(c corev1.Container, policy corev1.ContainerRestartPolicy, rules ...corev1.ContainerRestartRule) corev1.Container {
	c.RestartPolicy, c.RestartPolicyRules = &policy, rules
	return c
}

func execHandler(script string) corev1.ProbeHandler {
	return corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: shell(script)}}
}

// probe asks every second and believes the first answer.
func probe(h corev1.ProbeHandler) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: h, PeriodSeconds: 1, TimeoutSeconds: 5, FailureThreshold: 1, SuccessThreshold: 1}
}

func hook(h corev1.ProbeHandler) *corev1.LifecycleHandler {
	return &corev1.LifecycleHandler{Exec: h.Exec, HTTPGet: h.HTTPGet}
}

func port(n int) intstr.IntOrString { return intstr.FromInt32(int32(n)) }

// status returns the status of a container of any kind.
func status(p *corev1.Pod, name string) corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{
		p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses,
	} {
		if i := slices.IndexFunc(list, func(c corev1.ContainerStatus) bool { return c.Name == name }); i >= 0 {
			return list[i]
		}
	}
	return corev1.ContainerStatus{}
}

func condition(p *corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}

// What until waits for.

func ready(p *corev1.Pod) bool { return condition(p, corev1.PodReady).Status == corev1.ConditionTrue }

func notReady(p *corev1.Pod) bool {
	return condition(p, corev1.PodReady).Status == corev1.ConditionFalse
}

func succeeded(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded }

func failed(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed }

func running(name string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return status(p, name).State.Running != nil }
}

func terminated(name string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return status(p, name).State.Terminated != nil }
}

func waiting(name, reason string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		w := status(p, name).State.Waiting
		return w != nil && w.Reason == reason
	}
}

// restarted: the container runs for the n+1st time.
func restarted(name string, n int32) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		return status(p, name).RestartCount == n && running(name)(p)
	}
}

func all(conditions ...func(*corev1.Pod) bool) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		for _, c := range conditions {
			if !c(p) {
				return false
			}
		}
		return true
	}
}

// Checks.

// wantCondition checks a condition's status, reason and message.
func wantCondition(t *testing.T, p *corev1.Pod, kind corev1.PodConditionType, want corev1.ConditionStatus, reason, message string) {
	t.Helper()
	c := condition(p, kind)
	if c.Status != want || c.Reason != reason || c.Message != message {
		t.Errorf("%s: condition %s is %s (%s: %q), want %s (%s: %q)", p.Name, kind, c.Status, c.Reason, c.Message, want, reason, message)
	}
	// The kubelet sets no observed generation in AllContainersRestarting.
	if kind != corev1.AllContainersRestarting && c.ObservedGeneration != p.Generation && p.Status.ObservedGeneration == p.Generation {
		t.Errorf("%s: condition %s has observed generation %d, the status %d", p.Name, kind, c.ObservedGeneration, p.Generation)
	}
}

// wantUnready checks the conditions of a pod some of whose containers are not ready.
func wantUnready(t *testing.T, p *corev1.Pod, containers string) {
	t.Helper()
	for _, kind := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady} {
		wantCondition(t, p, kind, corev1.ConditionFalse, "ContainersNotReady", "containers with unready status: ["+containers+"]")
	}
}

// wantReady checks the conditions of a pod that is ready.
func wantReady(t *testing.T, p *corev1.Pod) {
	t.Helper()
	for _, kind := range []corev1.PodConditionType{
		corev1.PodReady, corev1.ContainersReady, corev1.PodInitialized, corev1.PodReadyToStartContainers, corev1.PodScheduled,
	} {
		wantCondition(t, p, kind, corev1.ConditionTrue, "", "")
	}
}

// wantExit checks how a container ended.
func wantExit(t *testing.T, what string, s corev1.ContainerState, code int32, reason string) {
	t.Helper()
	if s.Terminated == nil || s.Terminated.ExitCode != code || s.Terminated.Reason != reason {
		t.Errorf("%s: %+v, want terminated by %d, %s", what, s, code, reason)
		return
	}
	// A runtime may note the start of a short process after its end.
	if e := s.Terminated; e.StartedAt.IsZero() || e.FinishedAt.IsZero() || e.ContainerID == "" {
		t.Errorf("%s: terminated %+v, want a container's ID, a start and an end", what, e)
	}
}

// wantWaiting checks what a container waits for.
func wantWaiting(t *testing.T, p *corev1.Pod, name, reason string) {
	t.Helper()
	if !waiting(name, reason)(p) {
		t.Errorf("%s: container %s: %+v, want waiting: %s", p.Name, name, status(p, name).State, reason)
	}
}

// wantRestarts checks how often a container was restarted. A start that the runtime
// failed at for want of time, as containerd does on a busy machine, is named and is
// nobody's fault.
func wantRestarts(t *testing.T, p *corev1.Pod, name string, n int32) {
	t.Helper()
	st := status(p, name)
	got := st.RestartCount
	if last := st.LastTerminationState.Terminated; last != nil && last.Reason == "StartError" && strings.Contains(last.Message, "opening w/o fifo") {
		t.Logf("%s: container %s: the runtime failed to start it once, which is not counted: %s", p.Name, name, last.Message)
		got--
	}
	if got != n {
		t.Errorf("%s: container %s: %d restarts, want %d", p.Name, name, got, n)
	}
}

// wantFlags checks whether a container is ready and started.
func wantFlags(t *testing.T, p *corev1.Pod, name string, ready, started bool) {
	t.Helper()
	s := status(p, name)
	if s.Started == nil || *s.Started != started || s.Ready != ready {
		t.Errorf("%s: container %s: ready %v, started %v; want %v, %v", p.Name, name, s.Ready, s.Started, ready, started)
	}
}

// wantPhase checks the phase.
func wantPhase(t *testing.T, p *corev1.Pod, phase corev1.PodPhase) {
	t.Helper()
	if p.Status.Phase != phase {
		t.Errorf("%s: phase %s, want %s", p.Name, p.Status.Phase, phase)
	}
}

// brief is a status in one line.
func brief(p *corev1.Pod) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s %q", p.Status.Phase, p.Status.Reason, p.Status.Message)
	for _, c := range p.Status.Conditions {
		fmt.Fprintf(&s, "; %s=%s %s %q", c.Type, c.Status, c.Reason, c.Message)
	}
	for _, list := range [][]corev1.ContainerStatus{
		p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses,
	} {
		for _, c := range list {
			fmt.Fprintf(&s, "; %s ready=%v started=%v restarts=%d", c.Name, c.Ready, c.Started != nil && *c.Started, c.RestartCount)
			for name, state := range map[string]corev1.ContainerState{"": c.State, "last ": c.LastTerminationState} {
				switch {
				case state.Waiting != nil:
					fmt.Fprintf(&s, " %swaiting %s %q", name, state.Waiting.Reason, state.Waiting.Message)
				case state.Running != nil:
					fmt.Fprintf(&s, " %srunning", name)
				case state.Terminated != nil:
					fmt.Fprintf(&s, " %sterminated %d %s %q", name, state.Terminated.ExitCode, state.Terminated.Reason, state.Terminated.Message)
				}
			}
		}
	}
	return s.String()
}

// dashes makes a part of a pod's name from the name of a case.
func dashes(s string) string {
	return strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(s, ",", ""), " ", "-"))
}
