package podstatus_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/podstatus"
)

func condition(t *testing.T, s *corev1.PodStatus, kind corev1.PodConditionType) corev1.PodCondition {
	t.Helper()
	i := slices.IndexFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
	if i < 0 {
		t.Fatalf("no condition %s in %v", kind, s.Conditions)
	}
	return s.Conditions[i]
}

func said(c corev1.PodCondition) string {
	return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
}

func TestReadyConditions(t *testing.T) {
	gate := func(name string, status corev1.ConditionStatus) func(in *pod.Input) {
		return func(in *pod.Input) {
			in.Pod.Spec.ReadinessGates = append(in.Pod.Spec.ReadinessGates, corev1.PodReadinessGate{ConditionType: "example.com/" + corev1.PodConditionType(name)})
			if status != "" {
				in.Prior.Conditions = append(in.Prior.Conditions, corev1.PodCondition{Type: "example.com/" + corev1.PodConditionType(name), Status: status})
			}
		}
	}
	const yes = "True : "
	for name, c := range map[string]struct {
		in     *pod.Input
		change []func(in *pod.Input)
		// containers is ContainersReady, ready is Ready; empty: the same.
		containers, ready, initialized string
	}{
		"all run":          {in: given(always, "run", "run"), containers: yes, initialized: yes},
		"one does not":     {in: given(always, "run", "new"), containers: "False ContainersNotReady: containers with unready status: [c1]", initialized: yes},
		"none runs":        {in: given(always, "new", "crash"), containers: "False ContainersNotReady: containers with unready status: [c0 c1]", initialized: yes},
		"completed":        {in: given(never, "0"), change: []func(*pod.Input){down}, containers: "False PodCompleted: ", initialized: "True PodCompleted: "},
		"failed":           {in: given(never, "1"), change: []func(*pod.Input){down}, containers: "False PodFailed: ", initialized: yes},
		"gate is open":     {in: given(always, "run"), change: []func(*pod.Input){gate("a", "True")}, containers: yes, initialized: yes},
		"gate is not told": {in: given(always, "run"), change: []func(*pod.Input){gate("a", "")}, containers: yes, initialized: yes, ready: `False ReadinessGatesNotReady: corresponding condition of pod readiness gate "example.com/a" does not exist.`},
		"gates are shut": {in: given(always, "run"), change: []func(*pod.Input){gate("a", "False"), gate("b", "True"), gate("c", "Unknown")}, containers: yes, initialized: yes,
			ready: `False ReadinessGatesNotReady: the status of pod readiness gate "example.com/a" is not "True", but False, the status of pod readiness gate "example.com/c" is not "True", but Unknown`},
		"containers come before gates": {in: given(always, "new"), change: []func(*pod.Input){gate("a", "False")}, containers: "False ContainersNotReady: containers with unready status: [c0]", initialized: yes},
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range c.change {
				f(c.in)
			}
			if c.ready == "" {
				c.ready = c.containers
			}
			sandbox := yes
			if _, why := c.in.UsableSandbox(); why != "" {
				sandbox = "False PodSandboxNotReady: " + why
			}
			s := podstatus.Compute(c.in)
			for kind, want := range map[corev1.PodConditionType]string{
				corev1.ContainersReady: c.containers, corev1.PodReady: c.ready,
				corev1.PodInitialized: c.initialized, corev1.PodScheduled: yes, corev1.PodReadyToStartContainers: sandbox,
			} {
				got := condition(t, &s, kind)
				if said(got) != want {
					t.Errorf("%s: got %q, want %q", kind, said(got), want)
				}
				if got.ObservedGeneration != 7 {
					t.Errorf("%s: observedGeneration %d", kind, got.ObservedGeneration)
				}
			}
		})
	}
}

func TestReadyToStartContainers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(in *pod.Input)
		want   string
	}{
		"no sandbox":       {func(in *pod.Input) { in.Observed.Sandboxes = nil }, "False PodSandboxNotReady: no pod sandbox exists"},
		"not ready":        {func(in *pod.Input) { in.Observed.Sandboxes[0].Ready = false }, "False PodSandboxNotReady: pod sandbox is not ready"},
		"two of them":      {func(in *pod.Input) { in.Observed.Sandboxes = append(in.Observed.Sandboxes, in.Observed.Sandboxes[0]) }, "False PodSandboxNotReady: multiple pod sandboxes are ready and need to be reconciled"},
		"network changed":  {func(in *pod.Input) { in.Pod.Spec.HostNetwork = true }, "False PodSandboxNotReady: network namespace mode changed and sandbox needs to be recreated"},
		"no address":       {func(in *pod.Input) { in.Observed.Sandboxes[0].IPs = nil }, "False PodSandboxNotReady: pod sandbox has no IP address"},
		"ready":            {func(*pod.Input) {}, "True : "},
		"not looked yet":   {func(in *pod.Input) { in.Observed = pod.Observation{} }, "False PodSandboxNotReady: no pod sandbox exists"},
		"known from prior": {func(in *pod.Input) { in.Observed, in.Prior.Conditions = pod.Observation{}, readyBefore }, "True : "},
	} {
		t.Run(name, func(t *testing.T) {
			in := given(always, "run")
			c.change(in)
			s := podstatus.Compute(in)
			if got := said(condition(t, &s, corev1.PodReadyToStartContainers)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

var readyBefore = []corev1.PodCondition{{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue}}

func TestTheTimeOfAConditionChangesWithItsStatusOnly(t *testing.T) {
	long := metav1.NewTime(start.Add(-time.Hour).Truncate(time.Second))
	in := given(always, "new")
	in.Prior.Conditions = []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "Other", LastTransitionTime: long, ObservedGeneration: 1},
		{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: long},
	}
	s := podstatus.Compute(in)
	if c := condition(t, &s, corev1.PodReady); !c.LastTransitionTime.Equal(&long) || c.ObservedGeneration != 7 || c.Reason != "ContainersNotReady" {
		t.Errorf("Ready stays False for another reason: %+v", c)
	}
	now := metav1.NewTime(at.Truncate(time.Second))
	if c := condition(t, &s, corev1.ContainersReady); !c.LastTransitionTime.Equal(&now) {
		t.Errorf("ContainersReady becomes False: %+v", c)
	}
}

func TestConditionsOfOthersStayAsTheyAre(t *testing.T) {
	in := given(always, "run")
	others := []corev1.PodCondition{
		{Type: "example.com/x", Status: "Odd", Reason: "r", Message: "m", LastTransitionTime: metav1.NewTime(start.Truncate(time.Second)), ObservedGeneration: 3},
		{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue},
	}
	in.Prior.Conditions = slices.Clone(others)
	s := podstatus.Compute(in)
	for _, want := range others {
		if got := condition(t, &s, want.Type); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if len(s.Conditions) != len(others)+5 {
		t.Errorf("%d conditions", len(s.Conditions))
	}
}
