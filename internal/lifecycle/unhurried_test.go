package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// hanging is a runtime that removes no sandbox until it is told to.
type hanging struct {
	Sandboxes
	asked  chan string
	answer chan struct{}
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
