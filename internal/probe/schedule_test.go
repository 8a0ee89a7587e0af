package probe

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/probe/answer"
)

func TestFirstRunIsAfterTheDelayAndThenOnThePeriod(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := newPod("a")
		slow := target(pod.ProbeReadiness, "slow", corev1.Probe{InitialDelaySeconds: 7, PeriodSeconds: 3})
		slow.StartedAt = slow.StartedAt.Add(-500 * time.Millisecond) // noticed half a second later
		at1 := target(pod.ProbeReadiness, "quick", corev1.Probe{PeriodSeconds: 4})
		w.Watch(p, list(slow, at1))
		w.wait(13 * time.Second)
		w.wantRuns(t, "slow", 6.5, 9.5, 12.5)
		w.wantRuns(t, "quick", 0, 4, 8, 12)
		if late := w.Stats().MaxLate; late != 0 {
			t.Errorf("a run was %s late", late)
		}
	})
}

func TestNoDrift(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.answers(func(context.Context, pod.ProbeTarget) (answer.Answer, error) {
			time.Sleep(990 * time.Millisecond)
			return good, nil
		})
		w.Watch(newPod("a"), list(target(pod.ProbeReadiness, "x", corev1.Probe{PeriodSeconds: 1})))
		w.wait(time.Hour)
		runs := w.ran("x")
		if len(runs) != 3601 || runs[3600] != time.Hour {
			t.Errorf("%d runs, the last at %s; want 3601, 1h", len(runs), runs[len(runs)-1])
		}
		if s := w.Stats().Skipped; s != 0 {
			t.Errorf("%d runs were skipped", s)
		}
	})
}

func TestRunsThatTakeTooLongAreFollowedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		first := true
		w.answers(func(context.Context, pod.ProbeTarget) (answer.Answer, error) {
			if first {
				first = false
				time.Sleep(35 * time.Second)
			}
			return good, nil
		})
		w.Watch(newPod("a"), list(target(pod.ProbeReadiness, "x", corev1.Probe{PeriodSeconds: 10})))
		w.wait(time.Minute)
		w.wantRuns(t, "x", 0, 35, 40, 50, 60)
		if s := w.Stats().Skipped; s != 2 {
			t.Errorf("%d runs were skipped, want 2", s)
		}
	})
}

// fromBefore are probes of n containers, 0 to n-1, that were up before the agent.
func fromBefore(w *world, n int, spec corev1.Probe) []pod.ProbeTarget {
	targets := make([]pod.ProbeTarget, n)
	for i := range targets {
		targets[i] = target(pod.ProbeLiveness, fmt.Sprint(i), spec)
		targets[i].StartedAt = w.start.Add(-6 * time.Second)
	}
	return targets
}

// TestContainersFromBeforeTheAgent: each is asked soon, one after the other, and then
// at times that are spread over the period.
func TestContainersFromBeforeTheAgent(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const n = 200
		w.Watch(newPod("a"), fromBefore(w, n, corev1.Probe{PeriodSeconds: 10, InitialDelaySeconds: 5}))
		w.wait(35 * time.Second)
		tenths := make([]int, 10)
		for i := range n {
			runs := w.ran(fmt.Sprint(i))
			if len(runs) < 3 || runs[0] > n*5*time.Millisecond {
				t.Fatalf("a probe ran at %v, want it to be asked within a second", runs)
			}
			if gap := runs[1] - runs[0]; gap < 5*time.Second || gap > 15*time.Second {
				t.Errorf("a probe ran at %v, want half to one and a half periods behind the first run", runs)
			}
			if runs[2]-runs[1] != 10*time.Second {
				t.Errorf("a probe ran at %v, want it to keep its period", runs)
			}
			tenths[runs[1]%(10*time.Second)/time.Second]++
		}
		if slices.Min(tenths) < n/40 { // a quarter of what is expected
			t.Errorf("the runs are not spread over the period: %v", tenths)
		}
	})
}

// TestCommandsFromBeforeTheAgent: the runtime is not asked to run more of them at once
// than it can.
func TestCommandsFromBeforeTheAgent(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const n = 400
		command := corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}
		w.Watch(newPod("a"), fromBefore(w, n, corev1.Probe{PeriodSeconds: 10, ProbeHandler: command}))
		w.wait(15 * time.Second)
		first := make([]int, 10)
		for i := range n {
			runs := w.ran(fmt.Sprint(i))
			if len(runs) == 0 || runs[0] > 10*time.Second {
				t.Fatalf("a probe ran first at %v, want it within its period", runs)
			}
			first[min(9, runs[0]/time.Second)]++
		}
		if most := slices.Max(first); most > n/4 {
			t.Errorf("%d commands in one second: %v", most, first)
		}
	})
}

func TestThousandsOfProbesHaveOneTimer(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		before := runtime.NumGoroutine()
		const pods, each = 500, 10
		for i := range pods {
			var targets []pod.ProbeTarget
			for j := range each {
				targets = append(targets, target(pod.ProbeReadiness, fmt.Sprint(i, "-", j),
					corev1.Probe{InitialDelaySeconds: int32(1 + j), PeriodSeconds: 10}))
			}
			w.Watch(newPod(fmt.Sprint(i)), targets)
		}
		w.wait(500 * time.Millisecond)
		if n := runtime.NumGoroutine(); n > before+5 {
			t.Errorf("%d goroutines for idle probes", n-before)
		}
		w.wait(20 * time.Second)
		if n := runtime.NumGoroutine(); n > before+5 {
			t.Errorf("%d goroutines for idle probes that have run", n-before)
		}
		if s := w.Stats(); s.Runs != pods*each*2 || s.Watched != pods*each || s.MaxLate != 0 || s.Skipped != 0 {
			t.Errorf("%+v, want every probe to have run twice, on time", s)
		}
		for i := range pods {
			w.Watch(newPod(fmt.Sprint(i)), nil)
		}
		w.wait(time.Minute)
		if s := w.Stats(); s.Runs != pods*each*2 || s.Watched != 0 || len(w.due) != 0 || len(w.pods) != 0 {
			t.Errorf("%+v, %d in the schedule, %d pods: want nothing left", s, len(w.due), len(w.pods))
		}
	})
}

func TestTargetThatHangsHoldsUpNobodyElse(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.answers(func(ctx context.Context, t pod.ProbeTarget) (answer.Answer, error) {
			if t.Kind == pod.ProbeLiveness {
				<-ctx.Done()
				return answer.Answer{}, ctx.Err()
			}
			return good, nil
		})
		var targets []pod.ProbeTarget
		for i := range 200 {
			targets = append(targets, target(pod.ProbeLiveness, fmt.Sprint("hangs", i), corev1.Probe{PeriodSeconds: 1}))
		}
		x := target(pod.ProbeReadiness, "x", corev1.Probe{PeriodSeconds: 1})
		w.Watch(newPod("a"), append(targets, x))
		w.wait(5 * time.Second)
		w.wantRuns(t, "x", 0, 1, 2, 3, 4, 5)
		for i := range 200 {
			w.wantRuns(t, fmt.Sprint("hangs", i), 0) // one at a time
		}
		if s := w.Stats(); s.MaxLate != 0 || s.Running != 200 {
			t.Errorf("%+v, want nothing late and 200 running", s)
		}
	})
}

func TestWatchBeforeRun(t *testing.T) {
	w := newWorld()
	w.Watch(newPod("a"), list(target(pod.ProbeReadiness, "x", corev1.Probe{})))
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	w.answers(func(context.Context, pod.ProbeTarget) (answer.Answer, error) {
		close(ran)
		return good, nil
	})
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	<-ran
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWatchOfTheSameCostsNothing(t *testing.T) {
	w := newWorld()
	p := newPod("a")
	targets := list(
		target(pod.ProbeReadiness, "x", corev1.Probe{InitialDelaySeconds: 3600}),
		target(pod.ProbeLiveness, "x", corev1.Probe{InitialDelaySeconds: 3600}))
	w.Watch(p, targets)
	if n := testing.AllocsPerRun(100, func() { w.Watch(p, targets) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkDue is what the loop itself costs for each run of a probe: 10,000
// targets, all due at the same moment, which answer at once.
func BenchmarkDue(b *testing.B) {
	if testing.Short() {
		b.Skip("BenchmarkTick counts the same")
	}
	const n = 10_000
	p := New(Config{Version: "1.37"}, Deps{Log: zap.NewNop()})
	p.handle = func(context.Context, pod.ProbeTarget) (answer.Answer, error) { return good, nil }
	targets := make([]pod.ProbeTarget, n)
	for i := range targets {
		targets[i] = target(pod.ProbeReadiness, fmt.Sprint(i), corev1.Probe{PeriodSeconds: 1})
	}
	p.Watch(newPod("a"), targets)
	now := time.Now()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		var wg sync.WaitGroup
		p.startDue(b.Context(), &wg, now)
		wg.Wait()
		now = now.Add(time.Second)
	}
	b.StopTimer()
	s := p.Stats()
	if s.Runs != uint64(b.N)*n {
		b.Fatalf("%d runs in %d rounds of %d", s.Runs, b.N, n)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(s.Runs), "ns/run")
	b.ReportMetric(float64(s.Skipped), "skipped")
}

// BenchmarkWatch is what a pod worker pays for saying the same again.
func BenchmarkWatch(b *testing.B) {
	p := New(Config{Version: "1.37"}, Deps{Log: zap.NewNop()})
	of := newPod("a")
	targets := list(
		target(pod.ProbeReadiness, "x", corev1.Probe{}), target(pod.ProbeLiveness, "x", corev1.Probe{}),
		target(pod.ProbeReadiness, "y", corev1.Probe{}), target(pod.ProbeLiveness, "y", corev1.Probe{}))
	p.Watch(of, targets)
	b.ReportAllocs()
	for b.Loop() {
		p.Watch(of, targets)
	}
}
