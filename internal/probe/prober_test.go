package probe

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/probe/answer"
)

func TestVerdictsFollowTheThresholds(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		x := target(pod.ProbeReadiness, "x", corev1.Probe{PeriodSeconds: 10, FailureThreshold: 2})
		w.says(bad)
		w.Watch(newPod("a"), list(x))
		w.wait(0)
		w.wantVerdict(t, x.ProbeKey, pod.VerdictUnknown)
		w.wait(10 * time.Second)
		w.wantVerdict(t, x.ProbeKey, pod.VerdictFailure)
		w.wait(10 * time.Second)
		w.says(good)
		w.wait(10 * time.Second)
		w.wantVerdict(t, x.ProbeKey, pod.VerdictSuccess)
		w.wait(time.Minute)
		if n := w.changes(); n != 2 {
			t.Errorf("%d changes were told, want 2", n)
		}
		if got := w.Verdicts("uid-nobody"); len(got) != 0 {
			t.Errorf("verdicts of an unknown pod: %v", got)
		}
	})
}

func TestHeldUntilThereIsAnotherContainer(t *testing.T) {
	for name, c := range map[string]struct {
		kind pod.ProbeKind
		says answer.Answer
		runs []float64
	}{
		"not alive":   {pod.ProbeLiveness, bad, []float64{0, 10, 20}},
		"started":     {pod.ProbeStartup, good, []float64{0}},
		"not started": {pod.ProbeStartup, bad, []float64{0, 10, 20}},
		"alive":       {pod.ProbeLiveness, good, []float64{0, 10, 20, 30, 40}},
		"not ready":   {pod.ProbeReadiness, bad, []float64{0, 10, 20, 30, 40}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.says(c.says)
				x := target(c.kind, "x", corev1.Probe{})
				w.Watch(newPod("a"), list(x))
				w.wait(40 * time.Second)
				w.Watch(newPod("a"), list(x)) // asked for again: no reason to go on
				w.wait(0)
				w.wantRuns(t, "x", c.runs...)

				y := target(c.kind, "y", corev1.Probe{})
				w.Watch(newPod("a"), list(y))
				w.wait(0)
				w.wantRuns(t, "y", 40)
				w.wantVerdict(t, x.ProbeKey, pod.VerdictUnknown)
			})
		})
	}
}

func TestWatchReplacesTheSet(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := newPod("a")
		x := target(pod.ProbeReadiness, "x", corev1.Probe{PeriodSeconds: 10, FailureThreshold: 3})
		y := target(pod.ProbeReadiness, "y", corev1.Probe{PeriodSeconds: 10})
		var ips []string
		w.answers(func(_ context.Context, t pod.ProbeTarget) (answer.Answer, error) {
			if t.ContainerID == "x" {
				ips = append(ips, t.IP)
				return bad, nil
			}
			return good, nil
		})
		w.Watch(p, list(x, y))
		w.wait(15 * time.Second)
		w.wantVerdict(t, y.ProbeKey, pod.VerdictSuccess)

		// x stays, with another address and period: its schedule and count go on.
		x.IP = "10.0.0.2"
		x.Container = x.Container.DeepCopy()
		x.Container.ReadinessProbe.PeriodSeconds = 5
		w.Watch(p, list(x, x)) // twice is once
		w.wantVerdict(t, y.ProbeKey, pod.VerdictUnknown)
		w.wantVerdict(t, x.ProbeKey, pod.VerdictUnknown)
		w.wait(15 * time.Second)
		w.wantRuns(t, "x", 0, 10, 20, 25, 30)
		w.wantRuns(t, "y", 0, 10)
		w.wantVerdict(t, x.ProbeKey, pod.VerdictFailure)
		if want := []string{"10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.2"}; !slices.Equal(ips, want) {
			t.Errorf("asked at %v, want %v", ips, want)
		}
		if s := w.Stats(); s.Watched != 1 {
			t.Errorf("%d probes are watched, want 1", s.Watched)
		}

		w.Watch(p, nil)
		w.Watch(newPod("never seen"), nil)
		w.Watch(newPod("b"), list(pod.ProbeTarget{Container: &corev1.Container{}})) // has no probe
		w.wait(time.Minute)
		w.wantRuns(t, "x", 0, 10, 20, 25, 30)
		w.wantVerdict(t, x.ProbeKey, pod.VerdictUnknown)
		if s := w.Stats(); s.Watched != 0 || len(w.pods) != 0 {
			t.Errorf("%d probes of %d pods are watched, want none", s.Watched, len(w.pods))
		}
	})
}

func TestAnswerOfADroppedProbeIsDropped(t *testing.T) {
	for name, drop := range map[string]func(w *world, p *corev1.Pod, x pod.ProbeTarget, stop func()){
		"nothing is wanted": func(w *world, p *corev1.Pod, _ pod.ProbeTarget, _ func()) { w.Watch(p, nil) },
		"another instance": func(w *world, p *corev1.Pod, _ pod.ProbeTarget, _ func()) {
			y := target(pod.ProbeLiveness, "y", corev1.Probe{InitialDelaySeconds: 1000})
			w.Watch(p, list(y))
		},
		"the agent ends": func(_ *world, _ *corev1.Pod, _ pod.ProbeTarget, stop func()) { stop() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- w.Run(ctx) }()
				cancelled := false
				w.answers(func(ctx context.Context, _ pod.ProbeTarget) (answer.Answer, error) {
					<-ctx.Done()
					cancelled = true
					return bad, nil
				})
				p, x := newPod("a"), target(pod.ProbeLiveness, "x", corev1.Probe{FailureThreshold: 1})
				w.Watch(p, list(x))
				w.wait(5 * time.Second)
				if cancelled {
					t.Fatal("the run has ended by itself")
				}
				drop(w, p, x, stop)
				w.wait(0)
				if !cancelled {
					t.Error("the run was not ended at once")
				}
				w.wantVerdict(t, x.ProbeKey, pod.VerdictUnknown)
				if len(w.said()) != 0 || w.changes() != 0 || len(w.observed) != 0 {
					t.Errorf("events %v, %d changes, figures %v: want none", w.said(), w.changes(), w.observed)
				}
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestRunWaitsForEveryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		ctx, stop := context.WithCancel(t.Context())
		over := false
		w.answers(func(ctx context.Context, _ pod.ProbeTarget) (answer.Answer, error) {
			<-ctx.Done()
			time.Sleep(time.Minute) // takes its time
			over = true
			return good, nil
		})
		w.Watch(newPod("a"), list(target(pod.ProbeLiveness, "x", corev1.Probe{})))
		time.AfterFunc(time.Second, stop)
		if err := w.Run(ctx); err != nil || !over {
			t.Errorf("Run returned %v; the probe's run was over: %v", err, over)
		}
	})
}

func TestErrorsAreTriedAgainAndNotCounted(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		calls := 0
		w.answers(func(context.Context, pod.ProbeTarget) (answer.Answer, error) {
			calls++
			switch {
			case calls <= 1:
				return bad, nil
			case calls <= 4: // all attempts of the second run
				return answer.Answer{}, errors.New("no runtime")
			case calls == 5: // the first of the third
				return answer.Answer{}, errors.New("no runtime")
			}
			return bad, nil
		})
		x := target(pod.ProbeLiveness, "x", corev1.Probe{PeriodSeconds: 10, FailureThreshold: 2})
		w.Watch(newPod("a"), list(x))
		w.wait(15 * time.Second)
		w.wantRuns(t, "x", 0, 10, 10, 10)
		w.wantVerdict(t, x.ProbeKey, pod.VerdictUnknown)
		w.wait(5 * time.Second)
		w.wantRuns(t, "x", 0, 10, 10, 10, 20, 20)
		w.wantVerdict(t, x.ProbeKey, pod.VerdictFailure)
		want := []string{
			"a c true Unhealthy Liveness probe failed: not well",
			"a c true Unhealthy Liveness probe errored and resulted in unknown state: no runtime",
			"a c true Unhealthy Liveness probe failed: not well",
		}
		if got := w.said(); !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
		wantFigures := []string{"a c Liveness failed 0s", "a c Liveness unknown 0s", "a c Liveness failed 0s"}
		if !slices.Equal(w.observed, wantFigures) {
			t.Errorf("figures %q, want %q", w.observed, wantFigures)
		}
	})
}

func TestPanicIsAnError(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.answers(func(context.Context, pod.ProbeTarget) (answer.Answer, error) { panic("boom") })
		w.Watch(newPod("a"), list(target(pod.ProbeStartup, "x", corev1.Probe{})))
		w.wait(10 * time.Second)
		w.wantRuns(t, "x", 0, 0, 0, 10, 10, 10)
		want := "a c true Unhealthy Startup probe errored and resulted in unknown state: the probe panicked: boom"
		if got := w.said(); !slices.Equal(got, []string{want, want}) {
			t.Errorf("events %q, want %q", got, want)
		}
	})
}

func TestEventsHaveTheKubeletsWords(t *testing.T) {
	long := strings.Repeat("x", answer.MaxOutput)
	for name, c := range map[string]struct {
		answer answer.Answer
		err    error
		want   string
	}{
		"success": {answer: answer.Answer{Result: answer.Success, Output: "well"}},
		"failure": {answer: bad, want: "a c true Unhealthy Readiness probe failed: not well"},
		"warning": {
			answer: answer.Answer{Result: answer.Warning, Output: "hm"},
			want:   "a c true ProbeWarning Readiness probe warning: hm",
		},
		"error": {err: errors.New("no"), want: "a c true Unhealthy Readiness probe errored and resulted in unknown state: no"},
		"error while reading": {
			answer: answer.Answer{Result: answer.Failure}, err: errors.New("no"),
			want: "a c true Unhealthy Readiness probe errored and resulted in failure state: no",
		},
		"long error": {
			err:  errors.New(long + "more"),
			want: "a c true Unhealthy Readiness probe errored and resulted in unknown state: " + long,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.answers(func(context.Context, pod.ProbeTarget) (answer.Answer, error) { return c.answer, c.err })
				x := target(pod.ProbeReadiness, "x", corev1.Probe{FailureThreshold: 1})
				w.Watch(newPod("a"), list(x))
				w.wait(0)
				want := map[answer.Result]pod.Verdict{
					answer.Success: pod.VerdictSuccess, answer.Warning: pod.VerdictSuccess, answer.Failure: pod.VerdictFailure,
				}[c.answer.Result]
				if c.err != nil {
					want = pod.VerdictUnknown // whatever the result is called
				}
				w.wantVerdict(t, x.ProbeKey, want)
				if got := strings.Join(w.said(), "\n"); got != c.want {
					t.Errorf("events %.200q, want %.200q", got, c.want)
				}
			})
		})
	}
}

func TestOutputsAreNotLogged(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		core, logs := observer.New(zap.DebugLevel)
		w.log = zap.New(core)
		w.answers(func(_ context.Context, t pod.ProbeTarget) (answer.Answer, error) {
			if t.ContainerID == "y" {
				return answer.Answer{}, errors.New("hunter2")
			}
			return answer.Failed("hunter2"), nil
		})
		w.Watch(newPod("a"), list(
			target(pod.ProbeReadiness, "x", corev1.Probe{FailureThreshold: 1}), target(pod.ProbeReadiness, "y", corev1.Probe{})))
		w.wait(0)
		if logs.Len() != 3 { // two answers that are not good, one verdict
			t.Errorf("%d log entries, want 3", logs.Len())
		}
		for _, e := range logs.All() {
			for _, v := range e.ContextMap() {
				if s, ok := v.(string); ok && strings.Contains(s, "hunter2") || strings.Contains(e.Message, "hunter2") {
					t.Errorf("%q %v has the output", e.Message, e.ContextMap())
				}
			}
		}
	})
}

func TestSlowListenerHoldsUpItsProbeOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.deps.Changed = func(uid types.UID) {
			if uid == "uid-a" {
				time.Sleep(25 * time.Second)
			}
		}
		w.Watch(newPod("a"), list(target(pod.ProbeReadiness, "x", corev1.Probe{PeriodSeconds: 10})))
		w.Watch(newPod("b"), list(target(pod.ProbeReadiness, "y", corev1.Probe{PeriodSeconds: 10})))
		w.wait(30 * time.Second)
		w.wantRuns(t, "x", 0, 25, 30)
		w.wantRuns(t, "y", 0, 10, 20, 30)
	})
}
