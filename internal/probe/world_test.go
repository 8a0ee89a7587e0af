package probe

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/probe/answer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	good = answer.Answer{Result: answer.Success}
	bad  = answer.Failed("not well")
)

// world is a Prober whose targets are functions, and all that it said.
type world struct {
	*Prober
	began time.Time
	// target is asked by every probe.
	target func(context.Context, pod.ProbeTarget) (answer.Answer, error)

	mu       sync.Mutex
	runs     map[string][]time.Duration // by container ID, since began
	events   []string
	observed []string
	changed  []types.UID
}

// inBubble runs a test with a Prober, and ends it afterwards. The target is well
// unless the test says otherwise.
func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		time.Sleep(time.Hour) // the agent has been up for long
		w.began = time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()
		test(t, w)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if s := w.Stats(); s.Running != 0 {
			t.Errorf("%d probes are running after Run", s.Running)
		}
	})
}

func newWorld() *world {
	w := &world{
		began: time.Now(), runs: map[string][]time.Duration{},
		target: func(context.Context, pod.ProbeTarget) (answer.Answer, error) { return good, nil },
	}
	w.Prober = New(Config{Version: "1.37"}, Deps{
		Events: w, Log: zap.NewNop(),
		Changed: func(uid types.UID) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.changed = append(w.changed, uid)
		},
		Observe: func(p *corev1.Pod, container string, kind pod.ProbeKind, result string, took time.Duration) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.observed = append(w.observed, fmt.Sprint(p.Name, " ", container, " ", kind, " ", result, " ", took))
		},
	})
	w.handle = func(ctx context.Context, t pod.ProbeTarget) (answer.Answer, error) {
		w.mu.Lock()
		w.runs[t.ContainerID] = append(w.runs[t.ContainerID], time.Since(w.began))
		target := w.target
		w.mu.Unlock()
		return target(ctx, t)
	}
	return w
}

// Event is part of Events.
func (w *world) Event(p *corev1.Pod, container string, warning bool, reason, message string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprint(p.Name, " ", container, " ", warning, " ", reason, " ", message))
}

// answers makes the target answer so from now on.
func (w *world) answers(f func(context.Context, pod.ProbeTarget) (answer.Answer, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.target = f
}

// says makes the target give this answer from now on.
func (w *world) says(a answer.Answer) {
	w.answers(func(context.Context, pod.ProbeTarget) (answer.Answer, error) { return a, nil })
}

// wait lets this much time pass and everything that is due then happen.
func (w *world) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// ran returns when the probes of a container ran.
func (w *world) ran(id string) []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.runs[id])
}

// said returns the events so far, and forgets them.
func (w *world) said() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.events
	w.events = nil
	return e
}

func (w *world) changes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.changed)
}

// wantRuns checks when the probes of a container ran, in seconds.
func (w *world) wantRuns(t *testing.T, id string, seconds ...float64) {
	t.Helper()
	var want []time.Duration
	for _, s := range seconds {
		want = append(want, time.Duration(s*float64(time.Second)))
	}
	if got := w.ran(id); !slices.Equal(got, want) {
		t.Errorf("container %s was probed at %v, want %v", id, got, want)
	}
}

// wantVerdict checks what is known of a probe of pod "a".
func (w *world) wantVerdict(t *testing.T, key pod.ProbeKey, want pod.Verdict) {
	t.Helper()
	if got, known := w.Verdicts("uid-a")[key]; got != want || known != (want != pod.VerdictUnknown) {
		t.Errorf("the verdict of %v is %d (known: %v), want %d", key, got, known, want)
	}
}

func newPod(name string) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Namespace, p.UID = name, "default", types.UID("uid-"+name)
	return p
}

// target makes the target of a probe of a container instance started now.
func target(kind pod.ProbeKind, id string, spec corev1.Probe) pod.ProbeTarget {
	c := &corev1.Container{Name: "c"}
	switch kind {
	case pod.ProbeReadiness:
		c.ReadinessProbe = &spec
	case pod.ProbeStartup:
		c.StartupProbe = &spec
	case pod.ProbeLiveness:
		c.LivenessProbe = &spec
	}
	return pod.ProbeTarget{
		ProbeKey: pod.ProbeKey{ContainerID: id, Kind: kind}, Container: c, IP: "10.0.0.1", StartedAt: time.Now(),
	}
}

// list is short for a set of targets.
func list(t ...pod.ProbeTarget) []pod.ProbeTarget { return t }
