package podstatus_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/podstatus"
)

// TestComputeIsAFixedPoint: a status that was published and comes back as Prior
// leads to the same status, whatever is observed; else each look at a pod at
// rest would be a request to the API server. Beside that: a terminal phase
// stays, and restart counts never go back.
func TestComputeIsAFixedPoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := randomInput(t)
		first := podstatus.Compute(in)
		if again := podstatus.Compute(in); !equality.Semantic.DeepEqual(first, again) {
			t.Fatalf("two statuses for one input:\n%s", cmp.Diff(first, again))
		}
		next := *in
		next.Prior = first
		if second := podstatus.Compute(&next); !equality.Semantic.DeepEqual(first, second) {
			t.Fatalf("not at rest:\n%s", cmp.Diff(first, second))
		}
		if pod.Terminal(in.Prior.Phase) && first.Phase != in.Prior.Phase {
			t.Fatalf("phase %s was left for %s", in.Prior.Phase, first.Phase)
		}
		for _, st := range slices.Concat(first.InitContainerStatuses, first.ContainerStatuses) {
			if st.Ready && st.State.Running == nil && st.State.Terminated == nil || st.Ready && st.Started == nil {
				t.Fatalf("%s is ready but does not run: %+v", st.Name, st)
			}
			if prior := in.PriorContainer(st.Name); prior != nil && st.RestartCount < prior.RestartCount {
				t.Fatalf("restart count of %s goes from %d to %d", st.Name, prior.RestartCount, st.RestartCount)
			}
		}
		for i := range in.Observed.Containers {
			if in.Observed.Containers[i].Live() && pod.Terminal(first.Phase) && !pod.Terminal(in.Prior.Phase) {
				t.Fatalf("phase %s while a container may run", first.Phase)
			}
		}
	})
}

func randomInput(t *rapid.T) *pod.Input {
	policy := rapid.SampledFrom([]corev1.RestartPolicy{always, onFailure, never}).Draw(t, "policy")
	words := rapid.SliceOfN(rapid.SampledFrom(strings.Fields("new run 0 1 crash lost made unknown")), 1, 5).Draw(t, "containers")
	shape := rapid.SliceOfN(rapid.SampledFrom([]pod.Kind{pod.KindInit, pod.KindSidecar}), 0, len(words)-1).Draw(t, "inits")
	probes := rapid.Bool().Draw(t, "probes")
	in := given(policy, words...)
	arrange(in, shape, probes)
	in.Source = rapid.SampledFrom([]pod.SourceName{pod.SourceAPI, pod.SourceFile}).Draw(t, "source")
	if rapid.Bool().Draw(t, "published") {
		// What was published is what followed from an earlier look.
		earlier := given(policy, rapid.SliceOfN(rapid.SampledFrom(strings.Fields("new run 0 1 crash lost made unknown")), len(words), len(words)).Draw(t, "earlier")...)
		earlier.Source, earlier.Now = in.Source, at.Add(-rapid.SampledFrom([]time.Duration{0, time.Second, time.Hour}).Draw(t, "ago"))
		arrange(earlier, shape, probes)
		shuffle(t, earlier, "earlier")
		in.Prior = podstatus.Compute(earlier)
	}
	shuffle(t, in, "now")
	return in
}

// arrange makes the first containers init containers and sidecars, and gives all
// of them probes.
func arrange(in *pod.Input, shape []pod.Kind, probes bool) {
	s := &in.Pod.Spec
	for i := range s.Containers {
		if probes {
			s.Containers[i].StartupProbe, s.Containers[i].ReadinessProbe = &corev1.Probe{}, &corev1.Probe{}
		}
		if i < len(shape) && shape[i] == pod.KindSidecar {
			s.Containers[i].RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		}
	}
	s.InitContainers, s.Containers = s.Containers[:len(shape)], s.Containers[len(shape):]
	isInit := func(st corev1.ContainerStatus) bool {
		return slices.ContainsFunc(s.InitContainers, func(c corev1.Container) bool { return c.Name == st.Name })
	}
	for _, st := range in.Prior.ContainerStatuses {
		if isInit(st) {
			in.Prior.InitContainerStatuses = append(in.Prior.InitContainerStatuses, st)
		}
	}
	in.Prior.ContainerStatuses = slices.DeleteFunc(in.Prior.ContainerStatuses, isInit)
}

// shuffle changes everything about an input that a status depends on.
func shuffle(t *rapid.T, in *pod.Input, when string) {
	draw := func(what string) bool { return rapid.Bool().Draw(t, when+" "+what) }
	for i := range in.Observed.Containers {
		c := &in.Observed.Containers[i]
		c.Attempt = rapid.IntRange(0, 3).Draw(t, when+" attempt")
		c.ID = fmt.Sprint(c.Name, "-", c.Attempt)
		if c.Attempt > 0 && draw("predecessor") {
			in.Observed.Containers = append(in.Observed.Containers, pod.Container{ID: fmt.Sprint(c.Name, "-", c.Attempt-1), Name: c.Name, Attempt: c.Attempt - 1,
				State: pod.ContainerExited, ExitCode: 2, CreatedAt: start.Add(-time.Hour), FinishedAt: start.Add(-time.Minute)})
		}
	}
	in.Observed.Sort()
	in.Observed.Sandboxes = slices.Repeat(in.Observed.Sandboxes, rapid.IntRange(0, 2).Draw(t, when+" sandboxes"))
	if len(in.Observed.Sandboxes) > 0 {
		in.Observed.Sandboxes[0].Ready = draw("ready")
	}
	if draw("stop") {
		in.Stop = rapid.SampledFrom([]*pod.Stop{{Delete: true}, {Reason: "Evicted", Message: "m", Phase: failed}}).Draw(t, when+" which stop")
	}
	// Nothing fails to start that was seen running last.
	prior := in.PriorContainer("c0")
	idle := prior == nil || prior.State.Running == nil
	if draw("image failed") && idle {
		image("ErrImagePull", "m", rapid.IntRange(1, 3).Draw(t, when+" pulls"))(in)
	}
	if draw("start failed") && idle {
		startFailed("CreateContainerError", "m")(in)
	}
	if draw("start runs") && !in.Finished(pod.KindRegular, &in.Pod.Spec.Containers[0]) {
		op(pod.VerbStartContainer, true)(in)
	}
	in.Instances = map[string]pod.Instance{}
	for _, c := range in.Observed.Containers {
		verdict := func(what string) pod.Verdict { return pod.Verdict(rapid.IntRange(0, 2).Draw(t, when+" "+what)) }
		in.Instances[c.ID] = pod.Instance{Startup: verdict("startup"), Readiness: verdict("readiness"), Replace: draw("replace"), HookFailed: draw("hook failed")}
	}
	if draw("not looked") {
		in.Observed = pod.Observation{}
	}
	if draw("gate") {
		in.Pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "x"}}
		in.Prior.Conditions = append(slices.Clone(in.Prior.Conditions), corev1.PodCondition{Type: "y", Status: "True", LastTransitionTime: metav1.NewTime(at.Truncate(time.Second))})
	}
}
