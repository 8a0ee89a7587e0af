package events

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// server takes events.
type server struct {
	typedcorev1.EventInterface
	mu      sync.Mutex
	made    []*corev1.Event
	patches int
}

func (s *server) Events(string) typedcorev1.EventInterface { return s }

func (s *server) CreateWithEventNamespace(e *corev1.Event) (*corev1.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made = append(s.made, e)
	return e, nil
}

func (s *server) PatchWithEventNamespace(e *corev1.Event, _ []byte) (*corev1.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patches++
	return e, nil
}

func (s *server) counts() (made, patched int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.made), s.patches
}

var aPod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", ResourceVersion: "7"}}

// inBubble runs a test with a recorder in a bubble.
func inBubble(t *testing.T, test func(t *testing.T, r *Recorder, s *server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &server{}
		r := New(ctx, s, "node-1", zap.NewNop())
		test(t, r, s)
		r.Close()
		cancel()
	})
}

func TestWhatIsSent(t *testing.T) {
	inBubble(t, func(t *testing.T, r *Recorder, s *server) {
		for i, c := range []struct {
			send func()
			want string
		}{
			{func() { r.Event(aPod, "", true, "FailedMount", "m") }, "Warning FailedMount m: Pod ns/p u 7 "},
			{func() { r.Event(aPod, "app", false, "Started", "Container started") }, "Normal Started Container started: Pod ns/p u 7 spec.containers{app}"},
			{func() { r.NodeEvent(corev1.EventTypeNormal, "Starting", "m") }, "Normal Starting m: Node /node-1 node-1  "},
		} {
			c.send()
			time.Sleep(time.Second)
			synctest.Wait()
			if made, _ := s.counts(); made != i+1 {
				t.Fatalf("%d events after %d", made, i+1)
			}
			e := s.made[i]
			o := e.InvolvedObject
			if got := fmt.Sprintf("%s %s %s: %s %s/%s %s %s %s", e.Type, e.Reason, e.Message, o.Kind, o.Namespace, o.Name, o.UID, o.ResourceVersion, o.FieldPath); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if e.Source != (corev1.EventSource{Component: "kubelet", Host: "node-1"}) || e.ReportingController != "kubelet" {
				t.Errorf("from %+v, %s", e.Source, e.ReportingController)
			}
		}
	})
}

// What an event is about is told first, by a status; then all of them are.
func TestEventsComeAfterWhatTheyAreAbout(t *testing.T) {
	inBubble(t, func(t *testing.T, r *Recorder, s *server) {
		const n = 5
		for i := range n {
			r.Event(aPod, "app", false, "Started", fmt.Sprint(i))
		}
		time.Sleep(behind - time.Millisecond)
		synctest.Wait()
		if made, _ := s.counts(); made != 0 {
			t.Errorf("%d events are told before %s", made, behind)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if made, _ := s.counts(); made != n {
			t.Errorf("%d events are told after %s, want %d", made, behind, n)
		}
	})
}

// Aggregation and limits are client-go's; this is only that they are wired.
func TestEventsAreAggregatedAndLimited(t *testing.T) {
	inBubble(t, func(t *testing.T, r *Recorder, s *server) {
		for range 100 {
			r.Event(aPod, "app", true, "BackOff", "again")
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if made, patched := s.counts(); made != 1 || patched < 5 || patched > 30 {
			t.Errorf("100 equal events made %d events and %d patches", made, patched)
		}
	})
}

func TestWithoutAnAPIServer(t *testing.T) {
	r := New(t.Context(), nil, "node-1", zap.NewNop())
	r.Event(aPod, "", true, "R", "m")
	r.Event(&corev1.Pod{}, "c", false, "R", "m")
	r.NodeEvent(corev1.EventTypeNormal, "R", "m")
	r.Close()
	r.Close()
}

func TestAnEventAfterTheEndDoesNotPanic(t *testing.T) {
	inBubble(t, func(t *testing.T, r *Recorder, _ *server) {
		r.Close()
		r.Event(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID("u")}}, "", true, "R", "m")
	})
}
