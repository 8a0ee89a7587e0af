package sourcetest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/source"
)

// patience is how long the suite waits for something that has to happen.
const patience = 10 * time.Second

// Harness is one implementation under test.
type Harness struct {
	// New makes a source on an empty world, and a function that makes this world
	// hold exactly the pods with these base names (letters only). A pod of the
	// source has a name that starts with its base name.
	New func(t *testing.T) (s source.Source, set func(t *testing.T, names ...string))
}

// Run checks the contract. Every implementation of the port calls it.
func Run(t *testing.T, h Harness) {
	t.Helper()
	t.Run("the first set is sent even if it is empty", func(t *testing.T) {
		r := start(t, h)
		r.want(t)
	})
	t.Run("pods come, change and go as full sets", func(t *testing.T) {
		r := start(t, h)
		r.want(t)
		r.set(t, "one")
		r.want(t, "one")
		r.set(t, "one", "two")
		r.want(t, "one", "two")
		r.set(t, "two")
		r.want(t, "two")
		r.set(t)
		r.want(t)
	})
	t.Run("what exists before the start is in the first set", func(t *testing.T) {
		s, set := h.New(t)
		set(t, "one", "two")
		r := run(t, s, set)
		r.first(t, "one", "two")
	})
	t.Run("a slow receiver ends up with the newest set", func(t *testing.T) {
		r := start(t, h)
		r.want(t)
		r.set(t, "one")
		r.set(t, "one", "two")
		time.Sleep(200 * time.Millisecond)
		r.set(t, "three")
		r.want(t, "three")
	})
	t.Run("sets that were sent are never changed", func(t *testing.T) {
		r := start(t, h)
		r.set(t, "one")
		before := r.want(t, "one")
		copied := before[0].DeepCopy()
		r.set(t, "one", "two")
		r.want(t, "one", "two")
		if len(before) != 1 || before[0].ResourceVersion != copied.ResourceVersion || before[0].UID != copied.UID {
			t.Errorf("the first set changed after it was sent")
		}
	})
	t.Run("every pod has an identity", func(t *testing.T) {
		r := start(t, h)
		r.set(t, "one", "two")
		for _, p := range r.want(t, "one", "two") {
			if p.UID == "" || p.Namespace == "" || p.Name == "" {
				t.Errorf("pod %s/%s has UID %q", p.Namespace, p.Name, p.UID)
			}
		}
	})
	t.Run("Run ends although nobody receives", func(t *testing.T) {
		s, set := h.New(t)
		set(t, "one")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx, make(chan []*corev1.Pod)) }()
		time.Sleep(50 * time.Millisecond)
		cancel()
		expectEnd(t, ended)
	})
}

type running struct {
	set func(t *testing.T, names ...string)
	out chan []*corev1.Pod
}

func start(t *testing.T, h Harness) *running {
	t.Helper()
	s, set := h.New(t)
	return run(t, s, set)
}

func run(t *testing.T, s source.Source, set func(*testing.T, ...string)) *running {
	t.Helper()
	if s.Name() == "" {
		t.Fatal("the source has no name")
	}
	r := &running{set: set, out: make(chan []*corev1.Pod)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, r.out) }()
	t.Cleanup(func() {
		cancel()
		expectEnd(t, ended)
	})
	return r
}

func expectEnd(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Run returned %v after its context was done, want nil", err)
		}
	case <-time.After(patience):
		t.Error("Run did not return after its context was done")
	}
}

// want receives until a set holds exactly these pods, and returns it.
func (r *running) want(t *testing.T, names ...string) []*corev1.Pod {
	t.Helper()
	deadline := time.After(patience)
	var last []*corev1.Pod
	for {
		select {
		case last = <-r.out:
			if matches(last, names) {
				return last
			}
		case <-deadline:
			t.Fatalf("no set with exactly the pods %q; the last one had %d pods", names, len(last))
		}
	}
}

// first receives one set, which has to be right at once.
func (r *running) first(t *testing.T, names ...string) {
	t.Helper()
	select {
	case set := <-r.out:
		if !matches(set, names) {
			t.Fatalf("the first set has %d pods, want exactly %q", len(set), names)
		}
	case <-time.After(patience):
		t.Fatal("no first set")
	}
}

func matches(set []*corev1.Pod, names []string) bool {
	if len(set) != len(names) {
		return false
	}
	for _, n := range names {
		if !slices.ContainsFunc(set, func(p *corev1.Pod) bool { return strings.HasPrefix(p.Name, n) }) {
			return false
		}
	}
	return true
}
