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

// Nobody waits for most removals, so that they wait for those for whom somebody does.
func TestRemovalsGiveWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := hanging{asked: make(chan string, 5), answer: make(chan struct{}), stop: make(chan struct{})}
		u, results := newUnhurried(h), make(chan error, 7)
		stop := func() { results <- u.StopSandbox(t.Context(), "b") }
		later := func() { results <- u.removeLater(t.Context(), "a") }
		asked := func(want int, when string) {
			t.Helper()
			synctest.Wait()
			if len(h.asked) != want {
				t.Errorf("%d removals %s, want %d", len(h.asked), when, want)
			}
		}
		go stop()
		synctest.Wait()
		for range removals + 1 {
			go later()
		}
		time.Sleep(removalWaits / 2)
		asked(0, "while a sandbox is stopped")
		go func() { results <- u.RemoveSandbox(t.Context(), "static") }()
		asked(1, "when somebody waits for one")
		h.answer <- struct{}{}
		h.stop <- struct{}{}
		asked(1, "when it was stopped just now")
		time.Sleep(breath)
		asked(1+removals, "when it is calm")
		for range removals {
			h.answer <- struct{}{}
		}
		asked(1+removals+1, "when some have been removed")
		h.answer <- struct{}{}
		go stop() // hangs
		synctest.Wait()
		go later()
		time.Sleep(removalWaits)
		asked(1+removals+2, "after having given way for long")
		close(h.stop)
		close(h.answer)
		for range cap(results) {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}
