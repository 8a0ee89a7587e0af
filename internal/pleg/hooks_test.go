package pleg

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/pod"
)

// TestStreamIsTold: each attempt to open the stream is told of once, and when the
// runtime answered last is known.
func TestStreamIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened, failed int
		refuse := true
		p := New(Config{
			Relist: func(context.Context) ([]pod.Listing, error) { return nil, nil },
			Events: func(ctx context.Context, f func(pod.Hint)) error {
				if refuse {
					refuse = false
					return errAway
				}
				f(pod.Hint{})
				<-ctx.Done()
				return ctx.Err()
			},
			Stream: func(err error) {
				if err != nil {
					failed++
				} else {
					opened++
				}
			},
		}, zap.NewNop())
		if !p.LastSeen().IsZero() {
			t.Error("seen before it was asked")
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- p.Run(ctx, make(chan pod.Hint), make(chan []pod.Listing)) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if opened != 1 || failed != 1 || time.Since(p.LastSeen()) > time.Minute {
			t.Errorf("%d opened, %d failed, seen %s ago", opened, failed, time.Since(p.LastSeen()))
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
