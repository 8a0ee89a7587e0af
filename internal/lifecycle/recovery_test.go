package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

func TestAPanicInAnActionIsAFailedAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setRule(func(_ context.Context, verb, _ string) error {
			if verb == "CreateSandbox" {
				panic("bug")
			}
			return nil
		})
		w.want(newPod("p", "a"))
		pass(time.Minute)
		if n := len(w.called("CreateSandbox")); n < 3 || n > 10 {
			t.Errorf("%d calls in a minute", n)
		}
		if w.panics != 0 {
			t.Error("the worker was rebuilt for a bug in an action")
		}
		w.setRule(nil)
		pass(30 * time.Second)
		if got := w.container("p", "a"); got != "running 0" {
			t.Errorf("container is %s after the bug is gone", got)
		}
	})
}

func TestAPanicInTheLoopRebuildsTheWorker(t *testing.T) {
	for _, verb := range []string{"Observe", "Publish"} {
		t.Run(verb, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.want(newPod("p", "a"), newPod("q", "a"))
				synctest.Wait()
				broken := true
				w.setRule(func(ctx context.Context, v, what string) error {
					if v == verb && broken {
						broken = false
						panic("bug")
					}
					return nil
				})
				w.crash("p", "a")
				synctest.Wait()
				w.want(newPod("p", "a"), deleted(newPod("q", "a"), 5))
				synctest.Wait()
				if !w.isFinished("q") {
					t.Error("another pod waits for the worker that panicked")
				}
				pass(panicPause)
				w.mu.Lock()
				panics := w.panics
				w.mu.Unlock()
				if panics != 1 {
					t.Errorf("Hooks.Panic was called %d times", panics)
				}
				if got := w.container("p", "a"); got != "running 1" {
					t.Errorf("container is %s after the worker was rebuilt", got)
				}
				if n := len(w.called("CreateSandbox")); n != 2 {
					t.Errorf("%d sandboxes for two pods", n)
				}
			})
		})
	}
}

func TestAWorkerThatPanicsEndsItsOperationsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pulls, most := 0, 0
		w.setRule(func(ctx context.Context, verb, _ string) error {
			if verb == "Pull" {
				w.mu.Lock()
				pulls++
				most = max(most, pulls)
				w.mu.Unlock()
				<-ctx.Done()
				time.Sleep(10 * time.Second) // slow to give up
				w.mu.Lock()
				pulls--
				w.mu.Unlock()
				return ctx.Err()
			}
			return nil
		})
		w.want(newPod("p", "a"))
		synctest.Wait()
		rule := w.rule
		w.setRule(func(ctx context.Context, verb, what string) error {
			if verb == "Observe" {
				w.setRule(rule)
				panic("bug")
			}
			return rule(ctx, verb, what)
		})
		w.hints <- pod.Hint{UID: "p", Why: "event"}
		pass(time.Minute)
		if n := len(w.called("Pull")); n != 2 || most != 1 {
			t.Errorf("%d pulls, %d at a time", n, most)
		}
	})
}

func TestHintsCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world, _ *Deps) { w.observing = 10 * time.Millisecond })
		w.want(newPod("p", "a"))
		pass(time.Minute)
		before := len(w.called("Observe"))
		for i := range 1000 {
			w.hints <- pod.Hint{UID: "p", Why: fmt.Sprint(i)}
		}
		pass(time.Minute)
		if n := len(w.called("Observe")) - before; n < 1 || n > 3 {
			t.Errorf("%d looks for 1000 hints", n)
		}
		if n := len(w.sup.Views()[0].Timeline); n > timelineSize {
			t.Errorf("the timeline has %d lines", n)
		}
	})
}

// What the worker makes itself it looks at when that is made, and not once more for
// every event of it; what others make, and every end, it looks at all the same.
func TestEventsOfWhatTheWorkerMakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		made := func(why string) { w.hints <- pod.Hint{UID: "p", Why: why, What: pod.Made, At: time.Now()} }
		w.setRule(func(_ context.Context, verb, _ string) error {
			if verb == "CreateSandbox" || verb == "StartContainer" {
				made("created")
				time.Sleep(time.Millisecond) // for the worker to take it
				made("started")
			}
			return nil
		})
		w.want(newPod("p", "a"))
		pass(time.Minute)
		before := len(w.called("Observe"))
		if got := w.container("p", "a"); got != "running 0" || before != 3 {
			t.Errorf("container is %s after %d looks, want 3: before the sandbox, and after it and the container", got, before)
		}
		started := w.called("StartContainer")[0].at
		for i, c := range []struct {
			hint  pod.Hint
			looks int
		}{
			{pod.Hint{UID: "p", What: pod.Made, At: started}, 0},
			{pod.Hint{UID: "p", What: pod.Made, At: time.Now()}, 1},
			{pod.Hint{UID: "p", At: started}, 1},
		} {
			before := len(w.called("Observe"))
			w.hints <- c.hint
			pass(time.Second)
			if n := len(w.called("Observe")) - before; n != c.looks {
				t.Errorf("%d looks after hint %d, want %d", n, i, c.looks)
			}
		}
	})
}

// What the worker ends itself it looks at once: a container when it has been stopped, a
// sandbox as soon as it has ended, whose network may be there for a while.
func TestEventsOfWhatTheWorkerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := newPod("p", "a")
		w.want(p)
		pass(time.Minute)
		looks := map[string]int{}
		w.setRule(func(_ context.Context, verb, whom string) error {
			before, what := len(w.called("Observe")), pod.Ended
			id, _, _ := strings.Cut(whom, " ")
			switch verb {
			case "StopContainer":
				w.exit(id, 0)
			case "StopSandbox":
				w.mu.Lock()
				w.sandboxes[id].it.Ready = false
				w.mu.Unlock()
			case "RemoveSandbox":
				what = pod.Vanished
			default:
				return nil
			}
			w.hints <- pod.Hint{UID: "p", What: what, ID: id, At: time.Now()}
			time.Sleep(time.Millisecond) // for the worker to take it
			looks[verb] = len(w.called("Observe")) - before
			return nil
		})
		before := len(w.called("Observe"))
		w.want(deleted(p, 30))
		pass(time.Minute)
		if want := map[string]int{"StopContainer": 0, "StopSandbox": 1, "RemoveSandbox": 0}; !maps.Equal(looks, want) {
			t.Errorf("looks while things end are %v, want %v", looks, want)
		}
		if n := len(w.called("Observe")) - before; n != 3 || len(w.sup.Views()) != 0 {
			t.Errorf("%d looks, want 3: after the container, the sandbox and its removal; left %+v", n, w.sup.Views())
		}
		if n := w.handed["p"]; n != 1 {
			t.Errorf("the end of the object was asked for %d times", n)
		}
	})
}

// The end of a container that nobody stops is seen while another one is being stopped.
func TestAContainerThatEndsBesideOneThatIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := newPod("p", "a", "b")
		w.want(p)
		pass(time.Minute)
		w.setRule(func(ctx context.Context, verb, _ string) error {
			if verb == "StopContainer" {
				return hang(ctx)
			}
			return nil
		})
		w.want(deleted(p, 30))
		pass(time.Second)
		before := len(w.called("Observe"))
		w.hints <- pod.Hint{UID: "p", What: pod.Ended, ID: "somebody else's", At: time.Now()}
		pass(time.Second)
		if n := len(w.called("Observe")) - before; n != 1 {
			t.Errorf("%d looks", n)
		}
	})
}

// The container of a hook that runs is there for whoever asks for it.
func TestAContainerIsSeenWhileItsHookRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setRule(func(ctx context.Context, verb, _ string) error {
			if verb == "StartContainer" {
				return hang(ctx)
			}
			return nil
		})
		p := newPod("p", "a")
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{}}}
		w.want(p)
		pass(time.Minute)
		before := len(w.called("Observe"))
		w.hints <- pod.Hint{UID: "p", Why: "started", What: pod.Made, At: time.Now()}
		pass(time.Second)
		if n := len(w.called("Observe")) - before; n != 1 {
			t.Errorf("%d looks", n)
		}
	})
}

// Of hints that wait together the one that must be followed is followed.
func TestHintsOfWhatEndedPrevail(t *testing.T) {
	ended, made, later := pod.Hint{What: pod.Ended, ID: "a"}, pod.Hint{What: pod.Made, At: time.Unix(1, 0)}, pod.Hint{What: pod.Made, At: time.Unix(2, 0)}
	other, relisted := pod.Hint{What: pod.Ended, ID: "b"}, pod.Hint{Why: "relist"}
	for _, c := range [][3]pod.Hint{
		{ended, made, ended}, {made, ended, ended}, {made, later, later},
		{ended, ended, ended}, {ended, other, {}}, {ended, relisted, {}}, {relisted, ended, relisted},
	} {
		if got := c[0].Merge(c[1]); got != c[2] {
			t.Errorf("%+v and %+v are %+v", c[0], c[1], got)
		}
	}
}

// The runtime is away for a while; the worker goes on when it is back.
func TestARuntimeThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setRule(func(_ context.Context, verb, _ string) error {
			if verb == "Observe" {
				return errors.New("away")
			}
			return nil
		})
		w.want(newPod("p", "a"))
		pass(time.Minute)
		if n := len(w.called("Observe")); n < 10 || n > 20 {
			t.Errorf("%d looks in a minute", n)
		}
		if v := w.sup.Views(); len(v) != 1 || len(v[0].Waits) == 0 {
			t.Errorf("nobody can see what the pod waits for: %+v", v)
		}
		w.setRule(nil)
		pass(observeRetryMax)
		if got := w.container("p", "a"); got != "running 0" {
			t.Errorf("container is %s", got)
		}
	})
}

func TestTheEndOfTheAgentLeavesPodsRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setRule(func(ctx context.Context, verb, what string) error {
			if verb == "Pull" && what == "b" {
				return hang(ctx)
			}
			return nil
		})
		w.want(newPod("p", "a", "b"))
		synctest.Wait()
		w.stop()
		synctest.Wait()
		select {
		case <-w.ended:
		default:
			t.Fatal("Run has not returned")
		}
		if calls := w.destructive(); len(calls) != 0 {
			t.Errorf("ending the agent did %v", calls)
		}
	})
}
