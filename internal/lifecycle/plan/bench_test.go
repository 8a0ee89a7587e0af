package plan_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// BenchmarkNext is what a decision about one pod costs: two containers with two
// probes each, after an init container.
func BenchmarkNext(b *testing.B) {
	for _, c := range []struct {
		name    string
		at      func(*world)
		actions int
	}{
		{"settled", running, 0},
		{"new", func(*world) {}, 3},  // sandbox, volumes, the first image
		{"starting", initialised, 2}, // both containers
		{"stopping", func(w *world) { running(w); w.stop(time.Minute) }, 2},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(probedPod())
			w.in.Hashes = hashes(w.in.Pod)
			c.at(w)
			w.in.Observed.Sort()
			if got := plan.Next(&w.in); len(got.Actions) != c.actions || len(w.wrong) > 0 {
				b.Fatalf("%d actions, want %d: %q, waits for %v, wrong: %q", len(got.Actions), c.actions, got.Reasons, got.Waits, w.wrong)
			}
			b.ReportAllocs()
			for b.Loop() {
				plan.Next(&w.in)
			}
		})
	}
}

// BenchmarkProbes is what it costs to say which probes of the running pod are
// wanted, which is said after each decision.
func BenchmarkProbes(b *testing.B) {
	w := newWorld(probedPod())
	w.in.Hashes = hashes(w.in.Pod)
	running(w)
	if n := len(plan.Probes(&w.in)); n != 4 {
		b.Fatalf("%d probes", n)
	}
	b.ReportAllocs()
	for b.Loop() {
		plan.Probes(&w.in)
	}
}

func probedPod() *corev1.Pod {
	p := simplePod(corev1.RestartPolicyAlways, "web", "proxy")
	for i := range p.Spec.Containers {
		p.Spec.Containers[i].ReadinessProbe, p.Spec.Containers[i].LivenessProbe = &corev1.Probe{}, &corev1.Probe{}
	}
	p.Spec.InitContainers = []corev1.Container{{Name: "setup", Image: "img-setup"}}
	return p
}

// initialised lets the init container of the pod run to its end.
func initialised(w *world) {
	w.settle(nil)
	w.exit(w.in.Observed.Latest("setup").ID, 0)
}

// running lets the pod get ready.
func running(w *world) {
	initialised(w)
	w.settle(nil)
	for _, c := range []string{"web", "proxy"} {
		w.verdict(c, pod.ProbeReadiness, pod.VerdictSuccess)
		w.verdict(c, pod.ProbeLiveness, pod.VerdictSuccess)
	}
	w.settle(nil)
}
