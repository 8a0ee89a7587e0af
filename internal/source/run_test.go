package source_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/source"
)

// scripted sends what its channel gives it, until the channel is closed.
type scripted struct {
	name pod.SourceName
	sets chan []*corev1.Pod
	err  error
}

func (s *scripted) Name() pod.SourceName { return s.name }

func (s *scripted) Run(ctx context.Context, out chan<- []*corev1.Pod) error {
	for {
		select {
		case set, open := <-s.sets:
			if !open {
				return s.err
			}
			select {
			case out <- set:
			case <-ctx.Done():
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func TestRunKeepsOnlyTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		api := &scripted{name: pod.SourceAPI, sets: make(chan []*corev1.Pod)}
		file := &scripted{name: pod.SourceFile, sets: make(chan []*corev1.Pod)}
		out := make(chan pod.Desired)
		ended := make(chan error, 1)
		go func() { ended <- source.Run(ctx, []source.Source{file, api}, out) }()

		api.sets <- []*corev1.Pod{newPod("a", "x", "1")}
		synctest.Wait()
		if got := summary(<-out); got != "api:a/x/1" {
			t.Fatalf("first: %q", got)
		}
		// Nobody reads now; no source may get stuck.
		file.sets <- nil
		for _, uid := range []string{"2", "3", "4"} {
			api.sets <- []*corev1.Pod{newPod("a", "x", uid)}
		}
		synctest.Wait()
		if got := summary(<-out); got != "api:a/x/4 synced" {
			t.Fatalf("after a pause: %q", got)
		}
		synctest.Wait()
		select {
		case d := <-out:
			t.Fatalf("an unchanged result was sent again: %q", summary(d))
		default:
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}

func TestRunReportsASourceThatGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		s := &scripted{name: pod.SourceFile, sets: make(chan []*corev1.Pod), err: boom}
		close(s.sets)
		err := source.Run(t.Context(), []source.Source{s}, make(chan pod.Desired))
		if !errors.Is(err, boom) {
			t.Fatalf("got %v", err)
		}
	})
}
