package lifecycle

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

func TestAPodStartsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := newPod("p", "a")
		w.want(p)
		synctest.Wait()
		if got := w.container("p", "a"); got != "running 0" || w.status("p").Phase != corev1.PodRunning {
			t.Fatalf("container %s in phase %s", got, w.status("p").Phase)
		}
		if v := w.sup.Views(); len(v) != 1 || v[0].Stage != "Syncing" || len(v[0].Timeline) == 0 || len(v[0].Phases) == 0 {
			t.Errorf("views: %+v", v)
		}
		w.want(deleted(p, 30))
		synctest.Wait()
		if !w.isFinished("p") || w.status("p").Phase != corev1.PodFailed {
			t.Errorf("finished %t in phase %s", w.isFinished("p"), w.status("p").Phase)
		}
		pass(breath)
		if n := len(w.sup.Views()); n != 0 {
			t.Errorf("%d views", n)
		}
		// The source still names it for a while; it is not started again.
		w.want(deleted(p, 30))
		pass(time.Minute)
		if n := len(w.called("CreateSandbox")); n != 1 {
			t.Errorf("%d sandboxes for one pod", n)
		}
	})
}

func TestACrashIsHandledWhileTheNeighboursImageIsPulled(t *testing.T) {
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
		// The status speaks while the operation runs.
		if a, b := w.container("p", "a"), w.container("p", "b"); a != "running 0" || b != "waiting ContainerCreating" {
			t.Fatalf("a is %s, b is %s", a, b)
		}
		pass(time.Minute)
		w.crash("p", "a")
		synctest.Wait()
		if a := w.container("p", "a"); a != "running 1" {
			t.Errorf("a is %s at once after its first crash", a)
		}
		w.crash("p", "a")
		pass(9 * time.Second)
		if a := w.container("p", "a"); a != "waiting CrashLoopBackOff" {
			t.Errorf("a is %s after its second crash", a)
		}
		pass(1 * time.Second)
		if a := w.container("p", "a"); a != "running 2" {
			t.Errorf("a is %s 10 s after its second crash", a)
		}
		if n := len(w.called("Pull")); n != 4 { // a three times, b once
			t.Errorf("%d pulls", n)
		}
	})
}

// What an event says of an end is told before the runtime is asked, and what is done
// about it after.
func TestAnEndIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		once := newPod("once", "a")
		once.Spec.RestartPolicy = corev1.RestartPolicyNever
		w.want(newPod("p", "a", "b"), once)
		pass(time.Minute)
		w.observing = time.Second
		end := func(uid types.UID, name string, really, said bool) {
			w.mu.Lock()
			var it pod.Container
			for _, c := range w.containers {
				if c.uid == uid && c.it.Name == name && c.it.State == pod.ContainerRunning {
					it = c.it
				}
			}
			it.State, it.ExitCode, it.FinishedAt = pod.ContainerExited, 7, time.Now()
			w.told = map[string]pod.Container{}
			if said {
				w.told[it.ID] = it
			}
			w.mu.Unlock()
			if really {
				w.exit(it.ID, 7)
			}
			w.hints <- pod.Hint{UID: uid, Why: "event", What: pod.Ended, ID: it.ID, At: time.Now()}
			synctest.Wait()
		}
		for _, c := range []struct {
			name         string
			uid          types.UID
			really, said bool
			atOnce, then string
		}{
			{"an end", "p", true, true, "exited 7", "running 1"},
			{"nothing ended", "p", false, true, "waiting CrashLoopBackOff", "running 1"},
			{"an end without a status", "p", true, false, "running 1", "waiting CrashLoopBackOff"},
			{"the end of the pod", "once", true, true, "exited 7", "exited 7"},
		} {
			starts := len(w.called("StartContainer"))
			end(c.uid, "a", c.really, c.said)
			if got := w.container(c.uid, "a"); got != c.atOnce {
				t.Errorf("%s: %s before the look, want %s", c.name, got, c.atOnce)
			}
			if n := len(w.called("StartContainer")) - starts; n != 0 {
				t.Errorf("%s: %d starts before the look", c.name, n)
			}
			pass(5 * time.Second)
			if got := w.container(c.uid, "a"); got != c.then {
				t.Errorf("%s: %s after the look, want %s", c.name, got, c.then)
			}
		}
	})
}

func TestAStopCancelsAHungStart(t *testing.T) {
	for _, verb := range []string{"CreateSandbox", "Pull", "Mount", "CreateContainer", "StartContainer"} {
		t.Run(verb, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.setRule(func(ctx context.Context, v, _ string) error {
					if v == verb {
						return hang(ctx)
					}
					return nil
				})
				p := newPod("p", "a")
				w.want(p)
				pass(time.Hour)
				if len(w.called(verb)) != 1 {
					t.Fatalf("%s was called %d times", verb, len(w.called(verb)))
				}
				w.want(deleted(p, 30))
				synctest.Wait()
				if !w.isFinished("p") || w.status("p").Phase != corev1.PodFailed {
					t.Errorf("not finished at once; %+v", w.sup.Views())
				}
				for _, c := range w.called("Event") {
					if strings.HasPrefix(c.what, "Failed") {
						t.Errorf("what was cancelled is told as a failure: %s", c.what)
					}
				}
			})
		})
	}
}

func TestAStrongerStopShortensTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := newPod("p", "a")
		w.want(p)
		synctest.Wait()
		// A process that ignores SIGTERM.
		w.setRule(func(ctx context.Context, verb, what string) error {
			if verb != "StopContainer" {
				return nil
			}
			_, text, _ := strings.Cut(what, " ")
			grace, err := time.ParseDuration(text)
			if err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(grace):
				return nil
			}
		})
		w.want(deleted(p, 60))
		pass(5 * time.Second)
		w.want(deleted(p, 90)) // grace never grows
		pass(5 * time.Second)
		w.want(deleted(p, 3))
		pass(2 * time.Second)
		if w.isFinished("p") {
			t.Error("the pod ended before its shorter grace was over")
		}
		pass(1 * time.Second)
		if !w.isFinished("p") {
			t.Error("the pod did not end when its shorter grace was over")
		}
		var graces []string
		for _, c := range w.called("StopContainer") {
			_, grace, _ := strings.Cut(c.what, " ")
			graces = append(graces, grace)
		}
		if got := strings.Join(graces, " "); got != "1m0s 3s" {
			t.Errorf("StopContainer was called with %s, want 1m0s 3s", got)
		}
	})
}

func TestAnActionWithoutEffectDoesNotSpin(t *testing.T) {
	// verb has no effect while the pod starts, or while it ends.
	for verb, ending := range map[string]bool{
		"CreateSandbox": false, "CreateContainer": false, "StartContainer": false,
		"StopContainer": true, "StopSandbox": true, "RemoveSandbox": true,
	} {
		t.Run(verb, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := newPod("p", "a")
				if ending {
					w.want(p)
					synctest.Wait()
				}
				w.setRule(func(_ context.Context, v, _ string) error {
					if v == verb {
						return errNoEffect
					}
					return nil
				})
				if ending {
					p = deleted(p, 2)
				}
				w.want(p)
				pass(10 * time.Minute)
				calls := w.called(verb)
				perSecond := map[time.Time]int{}
				for _, c := range calls {
					second := c.at.Truncate(time.Second)
					if perSecond[second]++; perSecond[second] > 2 {
						t.Fatalf("%d calls in a second", perSecond[second])
					}
				}
				if n := len(calls); n < 10 || n > 60 {
					t.Errorf("%d calls in ten minutes", n)
				}
				if n := len(w.called("Observe")); n > 200 {
					t.Errorf("%d looks in ten minutes", n)
				}
				w.setRule(nil)
				pass(time.Minute)
				if ending && !w.isFinished("p") || !ending && w.container("p", "a") != "running 0" {
					t.Errorf("not healed a minute after the cause; container %s, views %+v", w.container("p", "a"), w.sup.Views())
				}
			})
		})
	}
}

func TestAFailedActionBacksOffAndHeals(t *testing.T) {
	for verb, want := range map[string]string{
		"CreateSandbox": "ContainerCreating", "Mount": "ContainerCreating",
		"CreateContainer": "CreateContainerError", "StartContainer": "CreateContainerError", "Pull": "ImagePullBackOff",
	} {
		t.Run(verb, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.setRule(func(_ context.Context, v, _ string) error {
					if v == verb {
						return errors.New("broken")
					}
					return nil
				})
				w.want(newPod("p", "a"))
				pass(10 * time.Minute)
				if got := w.container("p", "a"); got != "waiting "+want {
					t.Errorf("container is %s", got)
				}
				if n := len(w.called(verb)); n < 5 || n > 40 {
					t.Errorf("%d calls in ten minutes", n)
				}
				w.setRule(nil)
				pass(pod.MaxBackoff)
				if got := w.container("p", "a"); got != "running 0" {
					t.Errorf("container is %s after the cause was healed", got)
				}
			})
		})
	}
}
