package lifecycle

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nodeagent.dev/nodeagent/internal/pod"
)

func TestAStaticPodWaitsForItsPredecessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setRule(func(_ context.Context, verb, _ string) error {
			if verb == "StopContainer" {
				time.Sleep(10 * time.Second)
			}
			return nil
		})
		before, after := newPod("p1", "a"), newPod("p2", "a")
		before.Name, after.Name = "web", "web"
		w.wantFrom(pod.SourceFile, true, before)
		synctest.Wait()
		w.wantFrom(pod.SourceFile, true, after)
		pass(9 * time.Second)
		if n := len(w.called("CreateSandbox")); n != 1 {
			t.Fatalf("%d sandboxes while the predecessor still runs", n)
		}
		pass(time.Second)
		if got := w.container("p2", "a"); got != "running 0" {
			t.Errorf("the successor's container is %s once the predecessor is gone", got)
		}
	})
}

// A manifest that is taken away and put back makes a pod with the same UID.
func TestAStaticPodThatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setRule(func(_ context.Context, verb, _ string) error {
			if verb == "StopContainer" {
				time.Sleep(10 * time.Second)
			}
			return nil
		})
		w.wantFrom(pod.SourceFile, true, newPod("p", "a"))
		synctest.Wait()
		w.wantFrom(pod.SourceFile, true)
		pass(time.Second)
		w.wantFrom(pod.SourceFile, true, newPod("p", "a"))
		pass(time.Minute)
		if n := len(w.called("CreateSandbox")); n != 2 || w.container("p", "a") != "running 0" {
			t.Errorf("%d sandboxes, container %s", n, w.container("p", "a"))
		}
	})
}

func TestNothingIsTakenAwayBeforeEverySourceWasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		listing := w.running("old", "a")
		kept := newPod("kept", "a")
		w.wantFrom(pod.SourceFile, false, kept)
		w.listings <- []pod.Listing{listing}
		synctest.Wait()
		w.wantFrom(pod.SourceFile, false) // what is missing is not unwanted yet
		pass(time.Hour)
		if calls := w.destructive(); len(calls) != 0 {
			t.Fatalf("done before every source was seen: %v", calls)
		}
		w.want(kept)
		pass(time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		for id, s := range w.sandboxes {
			if s.uid != "kept" {
				t.Errorf("sandbox %s of %s is left", id, s.uid)
			}
		}
		if len(w.sandboxes) != 1 || len(w.containers) != 1 {
			t.Errorf("%d sandboxes, %d containers", len(w.sandboxes), len(w.containers))
		}
	})
}

func TestOrphansOfALaterListingEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.want()
		w.listings <- []pod.Listing{}
		synctest.Wait()
		w.listings <- []pod.Listing{w.running("old", "a"), {Ref: pod.Ref{}}}
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.sandboxes) != 0 || len(w.containers) != 0 {
			t.Errorf("%d sandboxes, %d containers are left", len(w.sandboxes), len(w.containers))
		}
	})
}

func TestLeftoversOnTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		w := newWorld(t, func(_ *world, d *Deps) {
			d.Leftovers = func() []pod.Ref {
				asked++
				return []pod.Ref{{UID: "left", Namespace: "ns", Name: "left"}, {UID: "kept"}, {UID: "nameless"}}
			}
		})
		kept := newPod("kept", "a")
		w.wantFrom(pod.SourceAPI, false, kept)
		w.listings <- []pod.Listing{}
		pass(time.Hour)
		if asked != 0 || len(w.destructive()) != 0 {
			t.Fatalf("asked %d times, done %v before every source was seen", asked, w.destructive())
		}
		w.want(kept)
		pass(time.Minute)
		w.want(kept, newPod("another", "a"))
		w.listings <- []pod.Listing{}
		pass(time.Minute)
		if asked != 1 {
			t.Errorf("the disk was searched %d times", asked)
		}
		done := map[string]int{}
		for _, c := range w.destructive() {
			done[c.verb+" "+c.what]++
		}
		for _, want := range []string{"Unmount left", "RemoveCgroup left", "RemoveLogs left", "Unmount nameless", "RemoveCgroup nameless"} {
			if done[want] != 1 {
				t.Errorf("%s was done %d times", want, done[want])
			}
			delete(done, want)
		}
		if len(done) != 0 {
			t.Errorf("also done: %v", done)
		}
	})
}

func TestAPodGoneFromTheAPIEndsWithoutReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.want(newPod("p", "a"))
		synctest.Wait()
		said := len(w.called("Publish"))
		w.want()
		pass(breath)
		if n := len(w.called("Publish")); n != said {
			t.Errorf("%d statuses for an object that is gone", n-said)
		}
		if len(w.sup.Views()) != 0 || len(w.called("RemoveSandbox")) != 1 {
			t.Errorf("the pod is still there: %+v", w.sup.Views())
		}
		if stops := w.called("StopContainer"); len(stops) != 1 || !strings.HasSuffix(stops[0].what, " 30s") {
			t.Errorf("stopped with %v, want the grace of the spec", stops)
		}
	})
}

func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		begin := time.Now()
		if err := w.sup.Alive(t.Context()); err != nil || time.Since(begin) != 0 {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
		w.stop()
		<-w.ended
		begin = time.Now()
		if err := w.sup.Alive(t.Context()); err == nil || !strings.Contains(err.Error(), "did not answer") || time.Since(begin) != aliveTimeout {
			t.Errorf("%v after %s from a loop that has ended", err, time.Since(begin))
		}
	})
}

// TestReadersLearnOfANewerView, and of the end: a reader that waits for a view
// to be superseded sees every state in between.
func TestReadersLearnOfANewerView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := newPod("p", "a")
		w.want(p)
		synctest.Wait()
		seen := make(chan string, 1000)
		go func() {
			for v := w.sup.View(p.UID); v != nil; v = w.sup.View(p.UID) {
				seen <- string(v.Status.Phase)
				<-v.Superseded
			}
			close(seen)
		}()
		pass(time.Second)
		if len(seen) == 0 || len(seen) > 5 {
			t.Errorf("%d views of a pod that only runs", len(seen))
		}
		w.want()
		pass(time.Minute)
		last := ""
		for phase := range seen { // ends, or the reader was left waiting
			last = phase
		}
		if last == "" || w.sup.View(p.UID) != nil {
			t.Errorf("last %q, then %v", last, w.sup.View(p.UID))
		}
	})
}
