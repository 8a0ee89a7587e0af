package pleg

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("the runtime is away")

// world is a runtime that a test changes, and a reader of what PLEG says.
type world struct {
	mu     sync.Mutex
	list   []pod.Listing
	err    error
	slow   time.Duration
	lists  []time.Time
	stream error // why streams end at once; nil keeps them open
	events chan pod.Hint
	broken chan struct{}

	hints    chan pod.Hint
	listings chan []pod.Listing
	p        *PLEG
}

func (w *world) Relist(ctx context.Context) ([]pod.Listing, error) {
	w.mu.Lock()
	w.lists = append(w.lists, time.Now())
	list, err, slow := w.list, w.err, w.slow
	w.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return list, err
}

func (w *world) Events(ctx context.Context, f func(pod.Hint)) error {
	w.mu.Lock()
	err, broken := w.stream, w.broken
	w.mu.Unlock()
	if err != nil {
		return err
	}
	f(pod.Hint{Why: "opened"})
	for {
		select {
		case h := <-w.events:
			f(h)
		case <-broken:
			return errAway
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// set changes what the runtime shows: uid and digest pairs.
func (w *world) set(err error, pairs ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list, w.err = nil, err
	for i := 0; i < len(pairs); i += 2 {
		w.list = append(w.list, pod.Listing{Ref: pod.Ref{UID: types.UID(pairs[i])}, Digest: pairs[i+1]})
	}
}

func (w *world) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.lists)
	w.lists = nil
	return n
}

// said returns what PLEG has said since the last time, once it has nothing more
// to say: hints as "uid: why", and the UIDs of a listing as "[a b]".
func (w *world) said() []string {
	var out []string
	for {
		synctest.Wait()
		select {
		case h := <-w.hints:
			out = append(out, string(h.UID)+": "+h.Why)
		case l := <-w.listings:
			var uids []string
			for i := range l {
				uids = append(uids, string(l[i].Ref.UID))
			}
			out = append(out, "["+strings.Join(uids, " ")+"]")
		default:
			slices.Sort(out)
			return out
		}
	}
}

func bubble(t *testing.T, w *world, f func()) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w.events, w.broken = make(chan pod.Hint), make(chan struct{})
		w.hints, w.listings = make(chan pod.Hint), make(chan []pod.Listing)
		w.p = New(Config{Relist: w.Relist, Events: w.Events}, zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.p.Run(ctx, w.hints, w.listings) }()
		synctest.Wait()
		f()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestRelist(t *testing.T) {
	w := &world{stream: errAway}
	w.set(nil, "a", "1", "b", "1")
	bubble(t, w, func() {
		same(t, "first", w.said(), "[a b]", "a: relist: appeared", "b: relist: appeared")
		time.Sleep(time.Minute)
		same(t, "nothing new", w.said())
		w.set(nil, "a", "2", "b", "1")
		time.Sleep(time.Second)
		same(t, "changed", w.said(), "a: relist: changed")
		w.set(nil, "b", "1", "c", "1")
		time.Sleep(time.Second)
		same(t, "other pods", w.said(), "[b c]", "a: relist: gone", "c: relist: appeared")
		w.set(errAway)
		time.Sleep(time.Minute)
		same(t, "away", w.said())
		w.set(nil)
		time.Sleep(time.Second)
		same(t, "none", w.said(), "[]", "b: relist: gone", "c: relist: gone")
	})
}

func TestFirstListingOfAnEmptyNode(t *testing.T) {
	w := &world{stream: errAway}
	bubble(t, w, func() { same(t, "first", w.said(), "[]") })
}

func TestPace(t *testing.T) {
	w := &world{}
	bubble(t, w, func() {
		time.Sleep(2 * time.Second)
		if n := w.count(); n < 2 || n > 4 {
			t.Errorf("%d lists at the start, want one at once and one when the stream has settled", n)
		}
		time.Sleep(5 * time.Minute)
		if n := w.count(); n < 8 || n > 13 {
			t.Errorf("%d lists in five minutes of events", n)
		}
		w.mu.Lock()
		w.stream = errAway
		w.mu.Unlock()
		close(w.broken)
		synctest.Wait()
		time.Sleep(time.Minute)
		if n := w.count(); n < 58 || n > 62 {
			t.Errorf("%d lists in a minute without events", n)
		}
		w.mu.Lock()
		w.stream, w.broken = nil, make(chan struct{})
		w.mu.Unlock()
		time.Sleep(time.Minute)
		w.count()
		time.Sleep(5 * time.Minute)
		if n := w.count(); n > 13 {
			t.Errorf("%d lists in five minutes after the events came back", n)
		}
	})
}

func TestReconnectListsAtOnce(t *testing.T) {
	w := &world{}
	w.set(nil, "a", "1")
	bubble(t, w, func() {
		time.Sleep(time.Hour)
		w.said()
		w.set(nil, "a", "2")
		w.mu.Lock()
		broken := w.broken
		w.broken = make(chan struct{})
		w.mu.Unlock()
		close(broken)
		time.Sleep(minReconnect)
		same(t, "after the break", w.said(), "a: relist: changed")
	})
}

func TestEventsBecomeOneHintPerPod(t *testing.T) {
	w := &world{}
	bubble(t, w, func() {
		w.said()
		begin := time.Now()
		for range 100 {
			w.events <- pod.Hint{UID: "a", Why: "container stopped"}
			w.events <- pod.Hint{UID: "b", Why: "container started"}
		}
		same(t, "events", w.said(), "a: container stopped", "b: container started")
		if !time.Now().Equal(begin) {
			t.Errorf("took %v", time.Since(begin))
		}
		w.set(nil, "c", "1")
		w.events <- pod.Hint{Why: "container deleted"}
		same(t, "an event that names no pod", w.said(), "[c]", "c: relist: appeared")
	})
}

func TestSlowReaderOfListingsGetsTheNewest(t *testing.T) {
	w := &world{stream: errAway}
	w.set(nil, "a", "1")
	bubble(t, w, func() {
		time.Sleep(time.Second)
		w.set(nil, "a", "1", "b", "1")
		time.Sleep(time.Hour)
		same(t, "after an hour", w.said(), "[a b]", "a: relist: appeared", "b: relist: appeared")
	})
}

func TestSlowListDoesNotHoldUpEvents(t *testing.T) {
	w := &world{slow: time.Minute}
	bubble(t, w, func() {
		w.events <- pod.Hint{UID: "a", Why: "container stopped"}
		same(t, "events", w.said(), "a: container stopped")
	})
}

func TestHealthy(t *testing.T) {
	w := &world{stream: errAway, err: errAway}
	bubble(t, w, func() {
		if err := w.p.Healthy(); err == nil || err.Error() != "pleg has yet to be successful" {
			t.Error(err)
		}
		w.set(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		w.set(errAway)
		if err := w.p.Healthy(); err != nil {
			t.Error(err)
		}
		time.Sleep(3*time.Minute - time.Second)
		if err := w.p.Healthy(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		const want = "pleg was last seen active 3m59s ago; threshold is 3m0s"
		if err := w.p.Healthy(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		w.set(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if err := w.p.Healthy(); err != nil {
			t.Error(err)
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took, between []time.Duration
		w := &world{stream: errAway, slow: 100 * time.Millisecond}
		ctx, cancel := context.WithTimeout(t.Context(), 1300*time.Millisecond)
		defer cancel()
		p := New(Config{
			Relist: w.Relist, Events: w.Events,
			RelistTook:     func(d time.Duration) { took = append(took, d) },
			RelistInterval: func(d time.Duration) { between = append(between, d) },
		}, zap.NewNop())
		if err := p.Run(ctx, make(chan pod.Hint), make(chan []pod.Listing)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if !slices.Equal(took, []time.Duration{w.slow, w.slow}) || !slices.Equal(between, []time.Duration{time.Second + w.slow}) {
			t.Errorf("took %v, between %v", took, between)
		}
	})
}
