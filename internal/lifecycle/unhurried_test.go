package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// hanging is a runtime that removes and stops no sandbox until it is told to.
type hanging struct {
	Sandboxes
	asked  chan string
	answer chan struct{}
	stop   chan struct{}
}

func (h hanging) StopSandbox(context.Context, string) error {
	<-h.stop
	return nil
}

func (h hanging) RemoveSandbox(ctx context.Context, id string) error {
	h.asked <- id
	select {
	case <-h.answer:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestUnhurried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const all = 5
		h := hanging{asked: make(chan string, all), answer: make(chan struct{})}
		u, results := newUnhurried(h), make(chan error, all)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for i := range all {
			go func() { results <- u.RemoveSandbox(ctx, fmt.Sprint("s", i)) }()
		}
		synctest.Wait()
		if len(h.asked) != removals {
			t.Errorf("%d are removed at a time, want %d", len(h.asked), removals)
		}
		h.answer <- struct{}{} // one place is free
		synctest.Wait()
		if len(h.asked) != removals+1 {
			t.Errorf("%d were asked for when one had ended, want %d", len(h.asked), removals+1)
		}
		time.Sleep(removalWaits) // what hangs holds nobody up
		synctest.Wait()
		if len(h.asked) != all {
			t.Errorf("%d were asked for after %s, want %d", len(h.asked), removalWaits, all)
		}
		cancel()
		for i := range all {
			if err := <-results; err != nil && !errors.Is(err, context.Canceled) || i == 0 && err != nil {
				t.Errorf("result %d: %v", i, err)
			}
		}
	})
}

// Nobody waits for a removal, so that it waits for those for whom somebody does.
func TestRemovalsGiveWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := hanging{asked: make(chan string, 2), answer: make(chan struct{}), stop: make(chan struct{})}
		u, stopped, removed := newUnhurried(h), make(chan error, 2), make(chan error, 2)
		stop := func() { stopped <- u.StopSandbox(t.Context(), "b") }
		remove := func() { removed <- u.RemoveSandbox(t.Context(), "a") }
		go stop()
		synctest.Wait()
		go remove()
		time.Sleep(removalWaits / 2)
		synctest.Wait()
		if len(h.asked) != 0 {
			t.Error("a sandbox is removed while another is stopped")
		}
		h.stop <- struct{}{}
		synctest.Wait()
		if len(h.asked) != 1 {
			t.Errorf("%d removals when no sandbox is stopped any more, want 1", len(h.asked))
		}
		go stop() // hangs
		synctest.Wait()
		go remove()
		time.Sleep(removalWaits)
		synctest.Wait()
		if len(h.asked) != 2 {
			t.Errorf("%d removals after %s, want 2", len(h.asked), removalWaits)
		}
		close(h.stop)
		close(h.answer)
		for range 2 {
			if err := errors.Join(<-stopped, <-removed); err != nil {
				t.Error(err)
			}
		}
	})
}
