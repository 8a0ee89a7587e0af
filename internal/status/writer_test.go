package status

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

var podResource = schema.GroupResource{Resource: "pods"}

// call is one request the server got.
type call struct {
	verb, name string
	at         time.Time
	patch      map[string]any
	options    metav1.DeleteOptions
}

// server is an API server that holds pods. Unlike client-go's fake it serves
// requests side by side and lets them hang. What the writer has no business
// calling, a GET above all, is not there and panics.
type server struct {
	mu      sync.Mutex
	version int
	pods    map[string]*corev1.Pod
	calls   []call
	busy    map[string]int
	// most is the largest number of requests for one pod, and in all, at a time.
	most, mostAll int
	// rule may hold a request or fail it; it runs before the effect.
	rule func(ctx context.Context, c call) error
}

func newServer(pods ...*corev1.Pod) *server {
	s := &server{pods: map[string]*corev1.Pod{}, busy: map[string]int{}}
	for _, p := range pods {
		s.version++
		p.ResourceVersion = strconv.Itoa(s.version)
		s.pods[p.Name] = p
	}
	return s
}

func (s *server) Pods(string) typedcorev1.PodInterface { return client{server: s} }

type client struct {
	typedcorev1.PodInterface
	server *server
}

// enter counts the request and lets the rule decide on it.
func (s *server) enter(ctx context.Context, c call) (leave func(), err error) {
	c.at = time.Now()
	s.mu.Lock()
	s.calls = append(s.calls, c)
	s.busy[c.name]++
	all := 0
	for _, n := range s.busy {
		all += n
	}
	s.most, s.mostAll = max(s.most, s.busy[c.name]), max(s.mostAll, all)
	rule := s.rule
	s.mu.Unlock()
	if rule != nil {
		err = rule(ctx, c)
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.busy[c.name]--
	}, err
}

func (c client) Patch(ctx context.Context, name string, kind types.PatchType, data []byte, _ metav1.PatchOptions, sub ...string) (*corev1.Pod, error) {
	s := c.server
	if kind != types.StrategicMergePatchType || !slices.Equal(sub, []string{"status"}) {
		return nil, fmt.Errorf("unexpected patch of kind %s to %v", kind, sub)
	}
	var patch map[string]any
	if err := json.Unmarshal(data, &patch); err != nil {
		return nil, err
	}
	leave, err := s.enter(ctx, call{verb: "patch", name: name, patch: patch})
	defer leave()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pods[name]
	if p == nil {
		return nil, apierrors.NewNotFound(podResource, name)
	}
	if meta, _ := patch["metadata"].(map[string]any); meta["uid"] != string(p.UID) {
		return nil, apierrors.NewConflict(podResource, name, fmt.Errorf("UID in precondition: %v, UID in object meta: %s", meta["uid"], p.UID))
	}
	before, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, data, corev1.Pod{})
	if err != nil {
		return nil, err
	}
	next := &corev1.Pod{}
	if err := json.Unmarshal(after, next); err != nil {
		return nil, err
	}
	s.version++
	next.ResourceVersion = strconv.Itoa(s.version)
	s.pods[name] = next
	return next.DeepCopy(), nil
}

func (c client) Delete(ctx context.Context, name string, o metav1.DeleteOptions) error {
	s := c.server
	leave, err := s.enter(ctx, call{verb: "delete", name: name, options: o})
	defer leave()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pods[name] == nil {
		return apierrors.NewNotFound(podResource, name)
	}
	delete(s.pods, name)
	return nil
}

// change lets somebody else write an object.
func (s *server) change(name string, f func(p *corev1.Pod)) *corev1.Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pods[name].DeepCopy()
	f(p)
	s.version++
	p.ResourceVersion = strconv.Itoa(s.version)
	s.pods[name] = p
	return p.DeepCopy()
}

func (s *server) pod(name string) *corev1.Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pods[name]
}

func (s *server) message(name string) string {
	if p := s.pod(name); p != nil {
		return p.Status.Message
	}
	return "(no pod)"
}

func (s *server) requests() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *server) setRule(rule func(ctx context.Context, c call) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rule = rule
}

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
		w := New(s, zaptest.NewLogger(t))
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
		synctest.Wait()
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

func TestRefusedStatusDoesNotHoldUpOthers(t *testing.T) {
	pods := []*corev1.Pod{newPod("good")}
	for i := range 3 * senders {
		pods = append(pods, newPod(fmt.Sprint("bad", i)))
	}
	s := newServer(pods...)
	s.setRule(func(_ context.Context, c call) error {
		if c.name != "good" {
			return apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, c.name, nil)
		}
		return nil
	})
	run(t, s, func(t *testing.T, w *Writer) {
		for _, p := range pods[1:] {
			w.Publish(p, saying("refused"), false)
		}
		for i := range 20 {
			w.Publish(s.pod("good"), saying(strconv.Itoa(i)), false)
			synctest.Wait() // no time passes
			if got := s.message("good"); got != strconv.Itoa(i) {
				t.Fatalf("the API has %q, want %d at once", got, i)
			}
			pass(777 * time.Millisecond)
		}
		s.setRule(nil)
		pass(retryPodMax)
		for _, p := range pods[1:] {
			if got := s.message(p.Name); got != "refused" {
				t.Errorf("%s: %q after the cause was healed", p.Name, got)
			}
		}
	})
}

func TestOutage(t *testing.T) {
	const pods, outage = 200, time.Minute
	errs := map[string]func(ctx context.Context) error{
		"connection refused": func(context.Context) error { return fmt.Errorf("dial tcp: connection refused") },
		"unavailable":        func(context.Context) error { return apierrors.NewServiceUnavailable("no etcd") },
		"too many requests":  func(context.Context) error { return apierrors.NewTooManyRequests("slow down", 1) },
		"internal error":     func(context.Context) error { return apierrors.NewInternalError(fmt.Errorf("etcd")) },
	}
	for name, fail := range errs {
		t.Run(name, func(t *testing.T) {
			s := newServer()
			for i := range pods {
				p := newPod(fmt.Sprint("p", i))
				p.ResourceVersion = "1"
				s.pods[p.Name] = p
			}
			s.version = 1
			s.setRule(func(ctx context.Context, _ call) error { return fail(ctx) })
			run(t, s, func(t *testing.T, w *Writer) {
				// Statuses go on changing while nobody listens.
				for tick := range 6 {
					for name, p := range s.pods {
						w.Publish(p, saying(name+" "+strconv.Itoa(tick)), false)
					}
					pass(outage / 6)
				}
				perSecond := map[time.Duration]int{}
				calls := s.requests()
				for _, c := range calls {
					perSecond[c.at.Sub(calls[0].at).Truncate(time.Second)]++
				}
				for second, n := range perSecond {
					if limit := 5 * senders; n > limit || second > 3*time.Second && n > senders {
						t.Errorf("%d requests in second %s of the outage", n, second)
					}
				}
				if len(calls) < 60 {
					t.Errorf("%d requests in a minute: the end of the outage would be noticed late", len(calls))
				}
				s.setRule(nil)
				pass(3 * time.Second)
				for name := range s.pods {
					if got, want := s.message(name), name+" 5"; got != want {
						t.Errorf("%s: the API has %q 3 s after the outage, want %q", name, got, want)
					}
				}
				if n := len(s.requests()) - len(calls); n > pods {
					t.Errorf("%d requests to deliver %d statuses", n, pods)
				}
			})
		})
	}
}

// A server that swallows requests holds a sender for the time of a request and
// not longer.
func TestHangingServer(t *testing.T) {
	s := newServer(newPod("a"))
	s.setRule(func(ctx context.Context, _ call) error { <-ctx.Done(); return ctx.Err() })
	run(t, s, func(t *testing.T, w *Writer) {
		w.Publish(s.pod("a"), saying("1"), false)
		pass(5 * time.Second)
		s.setRule(nil)
		pass(requestTimeout)
		if got := s.message("a"); got != "1" {
			t.Errorf("the API has %q", got)
		}
	})
}

func TestEndDoesNotWaitForAHangingServer(t *testing.T) {
	s := newServer(newPod("a"))
	s.setRule(func(ctx context.Context, _ call) error { <-ctx.Done(); return ctx.Err() })
	begin := time.Time{}
	run(t, s, func(t *testing.T, w *Writer) {
		begin = time.Now()
		w.Publish(s.pod("a"), saying("1"), false)
		synctest.Wait()
		t.Cleanup(func() {
			if took := time.Since(begin); took != 0 {
				t.Errorf("the end took %s", took)
			}
		})
	})
}
