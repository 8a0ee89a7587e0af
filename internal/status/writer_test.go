package status

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name)},
		Status:     corev1.PodStatus{Phase: corev1.PodPending, QOSClass: corev1.PodQOSBestEffort},
	}
}

// saying is a status that can be told from others.
func saying(message string) corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodRunning, QOSClass: corev1.PodQOSBestEffort, Message: message}
}

// run tests a writer in a bubble. That all goroutines end with the writer is
// checked by the bubble itself.
func run(t *testing.T, s *server, test func(t *testing.T, w *Writer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := New(s, nil, zaptest.NewLogger(t))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()
		test(t, w)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// pass lets time pass, and then everybody do what they have to do now.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestOneChangeIsOnePatch(t *testing.T) {
	s := newServer(newPod("a"))
	run(t, s, func(t *testing.T, w *Writer) {
		w.Publish(s.pod("a"), saying("1"), false)
		synctest.Wait()
		calls := s.requests()
		if len(calls) != 1 || s.message("a") != "1" {
			t.Fatalf("requests: %v, the API has %q", calls, s.message("a"))
		}
		if meta := calls[0].patch["metadata"]; fmt.Sprint(meta) != "map[uid:uid-a]" {
			t.Errorf("the patch is bound to %v", meta)
		}
		if st, _ := calls[0].patch["status"].(map[string]any); st["qosClass"] != nil || st["phase"] != "Running" {
			t.Errorf("the patch holds more or less than the change: %v", st)
		}
		old, now := newPod("a"), s.pod("a")
		old.ResourceVersion = "1"
		for _, p := range []*corev1.Pod{old, now, now} {
			w.Publish(p, saying("1"), false)
		}
		pass(time.Hour)
		if n := len(s.requests()); n != 1 {
			t.Errorf("%d requests for one change", n)
		}
	})
}

func TestNothingIsSentForAStatusTheAPIHolds(t *testing.T) {
	p := newPod("a")
	p.Status = saying("1")
	p.Status.Conditions = []corev1.PodCondition{{Type: "x"}, {Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	s := newServer(p)
	run(t, s, func(t *testing.T, w *Writer) {
		st := saying("1")
		st.Conditions = []corev1.PodCondition{p.Status.Conditions[1], p.Status.Conditions[0]}
		w.Publish(s.pod("a"), st, false)
		synctest.Wait()
		if calls := s.requests(); len(calls) != 0 {
			t.Errorf("requests: %v", calls)
		}
	})
}

func TestNewestWins(t *testing.T) {
	s := newServer(newPod("a"))
	s.setRule(func(context.Context, call) error { time.Sleep(time.Second); return nil })
	run(t, s, func(t *testing.T, w *Writer) {
		p := s.pod("a")
		for i := range 50 {
			w.Publish(p, saying(strconv.Itoa(i)), false)
			pass(10 * time.Millisecond)
		}
		pass(time.Minute)
		var sent []string
		for _, c := range s.requests() {
			st, _ := c.patch["status"].(map[string]any)
			sent = append(sent, fmt.Sprint(st["message"]))
		}
		if !slices.Equal(sent, []string{"0", "49"}) {
			t.Errorf("sent %v; what was overtaken must not be sent", sent)
		}
	})
}

// While the change to B is under way, the API still holds A. That A is wanted
// again must not be taken for nothing to do.
func TestBackToTheOldStatusWhileAPatchIsInFlight(t *testing.T) {
	p := newPod("a")
	p.Status = saying("A")
	s := newServer(p)
	s.setRule(func(context.Context, call) error { time.Sleep(time.Second); return nil })
	run(t, s, func(t *testing.T, w *Writer) {
		w.Publish(p, saying("B"), false)
		pass(500 * time.Millisecond)
		w.Publish(p, saying("A"), false)
		pass(time.Minute)
		if got := s.message("a"); got != "A" {
			t.Errorf("the API ends with %q, want A", got)
		}
		if n := len(s.requests()); n != 2 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestEachPodInOrderAndPodsSideBySide(t *testing.T) {
	var pods []*corev1.Pod
	for i := range senders {
		pods = append(pods, newPod(fmt.Sprint("p", i)))
	}
	s := newServer(pods...)
	s.setRule(func(context.Context, call) error { time.Sleep(time.Second); return nil })
	run(t, s, func(t *testing.T, w *Writer) {
		begin := time.Now()
		for i := range 4 {
			for _, p := range pods {
				w.Publish(p, saying(strconv.Itoa(i)), false)
			}
			pass(900 * time.Millisecond)
		}
		pass(time.Minute)
		if s.most != 1 || s.mostAll != senders {
			t.Errorf("%d requests at a time for a pod, want 1; %d in all, want %d", s.most, s.mostAll, senders)
		}
		last := map[string]string{}
		for _, c := range s.requests() {
			st, _ := c.patch["status"].(map[string]any)
			if m := fmt.Sprint(st["message"]); m <= last[c.name] {
				t.Errorf("pod %s: %s after %s", c.name, m, last[c.name])
			} else {
				last[c.name] = m
			}
			if c.at.Sub(begin) > 5*time.Second {
				t.Errorf("pod %s was served %s after the first", c.name, c.at.Sub(begin))
			}
		}
	})
}

func TestWhatOthersOwnIsLeftAlone(t *testing.T) {
	p := newPod("a")
	theirs := corev1.PodCondition{Type: "example.com/gate", Status: corev1.ConditionTrue, Message: "new"}
	p.Status.Conditions = []corev1.PodCondition{theirs, {Type: corev1.PodReady, Status: corev1.ConditionFalse}}
	p.Status.QOSClass = corev1.PodQOSBurstable
	claim := "claim-1"
	p.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "c", ResourceClaimName: &claim}}
	s := newServer(p)
	run(t, s, func(t *testing.T, w *Writer) {
		seen := s.pod("a")
		// Written after the agent has looked; the patch must not undo it.
		s.change("a", func(p *corev1.Pod) {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: "example.com/later", Status: corev1.ConditionTrue})
		})
		st := saying("1")
		stale := theirs
		stale.Message = "old"
		st.Conditions = []corev1.PodCondition{stale, {Type: corev1.PodReady, Status: corev1.ConditionTrue}, {Type: "example.com/dropped", Status: corev1.ConditionTrue}}
		w.Publish(seen, st, false)
		synctest.Wait()
		got := map[corev1.PodConditionType]string{}
		for _, c := range s.pod("a").Status.Conditions {
			got[c.Type] = string(c.Status) + " " + c.Message
		}
		want := map[corev1.PodConditionType]string{corev1.PodReady: "True ", "example.com/gate": "True new", "example.com/later": "True "}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("conditions %v, want %v", got, want)
		}
		if st := s.pod("a").Status; st.QOSClass != corev1.PodQOSBurstable || len(st.ResourceClaimStatuses) != 1 {
			t.Errorf("the QoS class is %s, the claims are %v", st.QOSClass, st.ResourceClaimStatuses)
		}
		calls := s.requests()
		patch, _ := calls[0].patch["status"].(map[string]any)
		if list, _ := patch["conditions"].([]any); len(list) != 1 {
			t.Errorf("the patch speaks of %v, want Ready alone", list)
		}
	})
}

func deleted(p *corev1.Pod) *corev1.Pod {
	p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	return p
}

func TestFinalPatchThenDelete(t *testing.T) {
	s := newServer(deleted(newPod("a")))
	run(t, s, func(t *testing.T, w *Writer) {
		st := saying("end")
		st.Phase = corev1.PodSucceeded
		w.Publish(s.pod("a"), st, false)
		pass(overtaken)
		if n := len(s.requests()); n != 1 {
			t.Fatalf("%d requests before the pod is finished", n)
		}
		st.Message = "the very end"
		w.Publish(s.pod("a"), st, true)
		synctest.Wait()
		calls := s.requests()
		if len(calls) != 3 || calls[1].verb != "patch" || calls[2].verb != "delete" {
			t.Fatalf("requests: %v", calls)
		}
		if o := calls[2].options; *o.GracePeriodSeconds != 0 || *o.Preconditions.UID != "uid-a" || o.Preconditions.ResourceVersion != nil {
			t.Errorf("deleted with %+v", o)
		}
		if len(w.entries) != 0 {
			t.Error("the writer still remembers the pod")
		}
	})
}

func TestDeleteIsTriedAgainWithoutAnotherPatch(t *testing.T) {
	s := newServer(deleted(newPod("a")))
	failed := false
	s.setRule(func(_ context.Context, c call) error {
		if c.verb == "delete" && !failed {
			failed = true
			return apierrors.NewInternalError(context.DeadlineExceeded)
		}
		return nil
	})
	run(t, s, func(t *testing.T, w *Writer) {
		w.Publish(s.pod("a"), saying("end"), true)
		pass(10 * time.Second)
		var verbs []string
		for _, c := range s.requests() {
			verbs = append(verbs, c.verb)
		}
		if !slices.Equal(verbs, []string{"patch", "delete", "delete"}) || s.pod("a") != nil {
			t.Errorf("requests: %v", verbs)
		}
	})
}

// A pod may be finished before its object is marked for deletion; the mark that
// comes while the last status is sent must not be lost.
func TestDeletionThatComesWithTheLastStatusInFlight(t *testing.T) {
	s := newServer(newPod("a"))
	s.setRule(func(context.Context, call) error { time.Sleep(time.Second); return nil })
	run(t, s, func(t *testing.T, w *Writer) {
		w.Publish(s.pod("a"), saying("end"), true)
		pass(500 * time.Millisecond)
		w.Publish(s.change("a", func(p *corev1.Pod) { deleted(p) }), saying("end"), true)
		pass(time.Minute)
		if s.pod("a") != nil {
			t.Errorf("the object is still there after %v", s.requests())
		}
	})
}

func TestGoneOrReplacedObjectsAreDropped(t *testing.T) {
	for name, c := range map[string]struct{ replace bool }{"not found": {}, "another pod of the name": {replace: true}} {
		t.Run(name, func(t *testing.T) {
			s := newServer()
			if c.replace {
				p := newPod("a")
				p.UID = "another"
				s = newServer(p)
			}
			run(t, s, func(t *testing.T, w *Writer) {
				w.Publish(newPod("a"), saying("1"), true)
				pass(time.Hour)
				if calls := s.requests(); len(calls) != 1 {
					t.Errorf("requests: %v", calls)
				}
				if len(w.entries) != 0 {
					t.Error("the writer still remembers the pod")
				}
				if c.replace && s.message("a") != "" {
					t.Error("another pod got the status")
				}
			})
		})
	}
}

func TestForgottenPodIsNotSent(t *testing.T) {
	s := newServer(newPod("a"))
	s.setRule(func(context.Context, call) error { return apierrors.NewServiceUnavailable("away") })
	run(t, s, func(t *testing.T, w *Writer) {
		w.Publish(s.pod("a"), saying("1"), false)
		synctest.Wait()
		w.Forget("uid-a")
		before := len(s.requests())
		pass(time.Hour)
		if n := len(s.requests()) - before; n != 0 {
			t.Errorf("%d requests for a forgotten pod", n)
		}
	})
}
