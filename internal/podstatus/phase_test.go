package podstatus_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/podstatus"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)

// at is the time the tests look at pods, a minute after everything happened.
var at = start.Add(time.Minute)

// given builds an input from words, one for each container "c0", "c1", ...:
//
//	new      never started             run      runs
//	0, 1     exited with that code     crash    exited 1, waits for its restart
//	lost     ran once, is not to be found any more
//	unknown  the runtime does not know what it does
//	made     created, not started
func given(policy corev1.RestartPolicy, words ...string) *pod.Input {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Generation: 7}}
	p.Spec.RestartPolicy = policy
	in := &pod.Input{
		Now: at, Ref: pod.RefOf(p), Spec: pod.Spec{Pod: p, Source: pod.SourceAPI},
		Node: pod.Node{RuntimeName: "containerd", HostIPs: []string{"10.0.0.1"}},
		Observed: pod.Observation{At: at, Sandboxes: []pod.Sandbox{
			{ID: "s", Ready: true, CreatedAt: start, IPs: []string{"10.1.0.1", "fd00::1"}},
		}},
		Attempts: map[pod.Work]pod.Attempt{}, Running: map[pod.Target]pod.Operation{},
	}
	for i, word := range words {
		name := fmt.Sprint("c", i)
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name, Image: "image"})
		c := pod.Container{ID: "id-" + name, Name: name, SandboxID: "s", CreatedAt: start, StartedAt: start, Image: "image"}
		switch word {
		case "new":
			continue
		case "lost":
			in.Prior.ContainerStatuses = append(in.Prior.ContainerStatuses, corev1.ContainerStatus{
				Name: name, ContainerID: "containerd://x", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
			continue
		case "run":
			c.State = pod.ContainerRunning
		case "0", "1", "crash":
			c.State, c.FinishedAt, c.ExitCode, c.Reason = pod.ContainerExited, at.Add(-time.Second), 1, "Error"
			if word == "0" {
				c.ExitCode, c.Reason = 0, "Completed"
			}
			if word == "crash" {
				c.CrashCount, c.Attempt = 1, 1
			}
		case "made":
			c.State, c.StartedAt = pod.ContainerCreated, time.Time{}
		case "unknown":
			c.State = pod.ContainerUnknown
		default:
			panic(word)
		}
		in.Observed.Containers = append(in.Observed.Containers, c)
	}
	in.Observed.Sort()
	return in
}

// down is what the planner makes of a pod that has finished: its sandbox stops.
func down(in *pod.Input) {
	for i := range in.Observed.Sandboxes {
		in.Observed.Sandboxes[i].Ready = false
	}
}

const (
	always    = corev1.RestartPolicyAlways
	onFailure = corev1.RestartPolicyOnFailure
	never     = corev1.RestartPolicyNever

	pending   = corev1.PodPending
	running   = corev1.PodRunning
	succeeded = corev1.PodSucceeded
	failed    = corev1.PodFailed
)

func TestPhaseOfAPodThatGoesOn(t *testing.T) {
	for _, c := range []struct {
		words                    string
		always, onFailure, never corev1.PodPhase
	}{
		{"new", pending, pending, pending},
		{"made", pending, pending, pending},
		{"unknown", pending, pending, pending},
		{"run", running, running, running},
		{"run run", running, running, running},
		{"run new", pending, pending, pending},
		{"run unknown", pending, pending, pending},
		{"0", running, succeeded, succeeded},
		{"1", running, running, failed},
		{"0 0", running, succeeded, succeeded},
		{"0 1", running, running, failed},
		{"1 1", running, running, failed},
		{"run 0", running, running, running},
		{"run 1", running, running, running},
		{"new 0", pending, pending, pending},
		{"new 1", pending, pending, pending},
		{"lost", running, running, failed},
		{"lost run", running, running, running},
		{"lost new", pending, pending, pending},
		{"lost 0", running, running, failed},
	} {
		for policy, want := range map[corev1.RestartPolicy]corev1.PodPhase{always: c.always, onFailure: c.onFailure, never: c.never} {
			t.Run(string(policy)+" "+c.words, func(t *testing.T) {
				in := given(policy, strings.Fields(c.words)...)
				if pod.Terminal(want) {
					down(in)
				}
				if got := podstatus.Compute(in).Phase; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
	}
	for _, policy := range []corev1.RestartPolicy{always, onFailure} {
		for words, want := range map[string]corev1.PodPhase{"crash": running, "crash run": running, "crash 0": running, "crash new": pending} {
			if got := podstatus.Compute(given(policy, strings.Fields(words)...)).Phase; got != want {
				t.Errorf("%s %s: got %s, want %s", policy, words, got, want)
			}
		}
	}
}

func TestPhaseOfAPodThatWasStopped(t *testing.T) {
	for _, c := range []struct {
		words                                                       string
		always, onFailure, never, static, staticFailure, staticOnce corev1.PodPhase
	}{
		{"new", failed, failed, failed, running, running, failed},
		{"0", succeeded, succeeded, succeeded, running, succeeded, succeeded},
		{"1", failed, failed, failed, running, running, failed},
		{"0 1", failed, failed, failed, running, running, failed},
		{"0 new", failed, failed, failed, running, running, failed},
		{"lost", failed, failed, failed, running, running, failed},
		{"made", failed, failed, failed, running, running, failed},
		{"run", running, running, running, running, running, running},
		{"run 0", running, running, running, running, running, running},
		{"run 1", running, running, running, running, running, running},
	} {
		for key, want := range map[string]corev1.PodPhase{
			"api Always": c.always, "api OnFailure": c.onFailure, "api Never": c.never,
			"file Always": c.static, "file OnFailure": c.staticFailure, "file Never": c.staticOnce,
		} {
			t.Run(key+" "+c.words, func(t *testing.T) {
				source, policy, _ := strings.Cut(key, " ")
				in := given(corev1.RestartPolicy(policy), strings.Fields(c.words)...)
				in.Source, in.Stop = pod.SourceName(source), &pod.Stop{Delete: true}
				if got := podstatus.Compute(in).Phase; pod.Terminal(got) {
					t.Errorf("%s while the sandbox is up", got)
				}
				down(in)
				if got := podstatus.Compute(in).Phase; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
	}
}

func TestPhaseTheStopDecidesIsWithheldWhileSomethingRuns(t *testing.T) {
	evicted := &pod.Stop{Reason: "Evicted", Message: "no memory", Phase: failed}
	for name, c := range map[string]struct {
		in     *pod.Input
		change func(in *pod.Input)
		want   string
	}{
		"a container runs":             {in: given(always, "run", "0"), want: "Running "},
		"a container may run":          {in: given(always, "unknown"), want: "Pending "},
		"all ended well":               {in: given(always, "0"), change: down, want: "Failed Evicted"},
		"never started":                {in: given(always, "new"), change: down, want: "Failed Evicted"},
		"its sandbox is up":            {in: given(always, "0"), want: "Pending "},
		"the runtime was not asked":    {in: given(always, "new"), change: func(in *pod.Input) { in.Observed = pod.Observation{} }, want: "Pending "},
		"a start is being cancelled":   {in: given(always, "new"), change: op("StartContainer", true), want: "Pending "},
		"a stop has not come back yet": {in: given(always, "1"), change: op("StopContainer", false), want: "Running "},
	} {
		t.Run(name, func(t *testing.T) {
			c.in.Stop = evicted
			if c.change != nil {
				c.change(c.in)
			}
			s := podstatus.Compute(c.in)
			if got := string(s.Phase) + " " + s.Reason; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if (s.Message == evicted.Message) != (s.Reason != "") {
				t.Errorf("message %q with reason %q", s.Message, s.Reason)
			}
		})
	}
}

func op(verb string, constructive bool) func(in *pod.Input) {
	return func(in *pod.Input) {
		target := pod.ContainerTarget("c0")
		in.Running[target] = pod.Operation{Target: target, Verb: verb, Constructive: constructive}
	}
}

func TestATerminalPhaseIsNeverLeft(t *testing.T) {
	for _, phase := range []corev1.PodPhase{succeeded, failed} {
		for _, words := range []string{"new", "run", "0", "1", "lost", "crash"} {
			for _, stop := range []*pod.Stop{nil, {Delete: true}, {Reason: "Evicted", Phase: failed}} {
				in := given(always, words)
				in.Stop = stop
				in.Prior.Phase, in.Prior.Reason, in.Prior.Message = phase, "Prior", "prior"
				s := podstatus.Compute(in)
				if s.Phase != phase {
					t.Errorf("%s with container %s and stop %v: left for %s", phase, words, stop, s.Phase)
				}
				if stop == nil && s.Reason != "Prior" {
					t.Errorf("%s with container %s: reason %q", phase, words, s.Reason)
				}
			}
		}
	}
}

func TestAPodWithoutSpecHasNoStatus(t *testing.T) {
	in := given(always, "run")
	in.Pod = nil
	if s := podstatus.Compute(in); s.Phase != "" || len(s.Conditions) != 0 {
		t.Errorf("got %+v", s)
	}
}

func TestAddresses(t *testing.T) {
	dual := []string{"10.0.0.1", "fd01::1"}
	prior := corev1.PodStatus{
		HostIP: "10.0.0.9", HostIPs: []corev1.HostIP{{IP: "10.0.0.9"}},
		PodIP: "10.1.0.9", PodIPs: []corev1.PodIP{{IP: "10.1.0.9"}},
	}
	for name, c := range map[string]struct {
		change    func(in *pod.Input)
		host, pod string
	}{
		"dual stack":                       {func(in *pod.Input) { in.Node.HostIPs = dual }, "10.0.0.1 [{10.0.0.1} {fd01::1}]", "10.1.0.1 [{10.1.0.1} {fd00::1}]"},
		"single stack":                     {func(in *pod.Input) { in.Observed.Sandboxes[0].IPs = []string{"10.1.0.1"} }, "10.0.0.1 [{10.0.0.1}]", "10.1.0.1 [{10.1.0.1}]"},
		"no sandbox yet":                   {func(in *pod.Input) { in.Observed.Sandboxes = nil }, "10.0.0.1 [{10.0.0.1}]", " []"},
		"kept without the sandbox":         {func(in *pod.Input) { in.Observed.Sandboxes, in.Prior = nil, prior }, "10.0.0.1 [{10.0.0.1}]", "10.1.0.9 [{10.1.0.9}]"},
		"kept when the sandbox is stopped": {func(in *pod.Input) { in.Observed.Sandboxes[0].Ready, in.Prior = false, prior }, "10.0.0.1 [{10.0.0.1}]", "10.1.0.9 [{10.1.0.9}]"},
		"a new sandbox has a new one":      {func(in *pod.Input) { in.Prior = prior }, "10.0.0.1 [{10.0.0.1}]", "10.1.0.1 [{10.1.0.1} {fd00::1}]"},
		"the node's are not known":         {func(in *pod.Input) { in.Node.HostIPs, in.Prior = nil, prior }, "10.0.0.9 [{10.0.0.9}]", "10.1.0.1 [{10.1.0.1} {fd00::1}]"},
		"host network": {func(in *pod.Input) {
			in.Pod.Spec.HostNetwork, in.Node.HostIPs = true, dual
			in.Observed.Sandboxes = []pod.Sandbox{{ID: "s", Ready: true, HostNetwork: true}}
		}, "10.0.0.1 [{10.0.0.1} {fd01::1}]", "10.0.0.1 [{10.0.0.1} {fd01::1}]"},
		"host network, kept when the node's change": {func(in *pod.Input) {
			in.Pod.Spec.HostNetwork, in.Prior = true, prior
		}, "10.0.0.1 [{10.0.0.1}]", "10.1.0.9 [{10.1.0.9}]"},
	} {
		t.Run(name, func(t *testing.T) {
			in := given(always, "run")
			c.change(in)
			s := podstatus.Compute(in)
			if got := fmt.Sprint(s.HostIP, " ", s.HostIPs); got != c.host {
				t.Errorf("the host's: got %s, want %s", got, c.host)
			}
			if got := fmt.Sprint(s.PodIP, " ", s.PodIPs); got != c.pod {
				t.Errorf("the pod's: got %s, want %s", got, c.pod)
			}
		})
	}
}

func TestWhatIsTakenOver(t *testing.T) {
	in := given(always, "run")
	claim := "x"
	in.Prior = corev1.PodStatus{
		QOSClass: corev1.PodQOSGuaranteed, NominatedNodeName: "other", StartTime: &metav1.Time{Time: start.Add(-time.Hour)},
		ResourceClaimStatuses: []corev1.PodResourceClaimStatus{{Name: "c", ResourceClaimName: &claim}},
	}
	s := podstatus.Compute(in)
	if s.QOSClass != corev1.PodQOSGuaranteed || s.NominatedNodeName != "other" || len(s.ResourceClaimStatuses) != 1 || s.ObservedGeneration != 7 {
		t.Errorf("got %+v", s)
	}
	if !s.StartTime.Equal(&metav1.Time{Time: start.Add(-time.Hour).Truncate(time.Second)}) {
		t.Errorf("the start time became %s", s.StartTime)
	}
	in.Prior = corev1.PodStatus{}
	if s := podstatus.Compute(in); s.QOSClass != corev1.PodQOSBestEffort || !s.StartTime.Equal(&metav1.Time{Time: at.Truncate(time.Second)}) {
		t.Errorf("a new pod: class %s, start %s", s.QOSClass, s.StartTime)
	}
}
