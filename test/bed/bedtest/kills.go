package bedtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
)

const (
	// earlyKills of a hundred hit the agent while it starts.
	earlyKills = 30
	startedBy  = 1500 * time.Millisecond // about how long a start takes
)

// Killing says what [Kill] did.
type Killing struct {
	// Starts are how long the agent took to answer after each kill.
	Starts []time.Duration
	// Early counts the kills beside those wished for, that hit the agent while it
	// started.
	Early int
}

// Kill kills the agent n times with SIGKILL and starts it again each time, after
// pauses of at most longest: they are random, since the moments are what is tried.
// It returns when the node is ready after the last one.
func Kill(ctx context.Context, b *bed.Bed, n int, longest time.Duration, random *rand.Rand) (Killing, error) {
	var done Killing
	agent := b.Component("agent")
	between := func(most time.Duration) time.Duration { return time.Duration(random.Int64N(int64(most))) }
	for i := range n {
		Pause(ctx, between(longest))
		if err := agent.Kill(ctx); err != nil {
			return done, fmt.Errorf("kill %d: %w; did it end by itself? The end of its log:\n%s", i+1, err, Tail(agent.Log(), 4000))
		}
		if random.IntN(100) < earlyKills && i+1 < n {
			done.Early++
			if err := agent.Launch(ctx); err != nil {
				return done, fmt.Errorf("start after kill %d: %w", i+1, err)
			}
			Pause(ctx, between(startedBy))
			if err := agent.Kill(ctx); err != nil {
				return done, fmt.Errorf("kill during the start after kill %d: %w", i+1, err)
			}
		}
		began := time.Now()
		if err := agent.Start(ctx); err != nil {
			return done, fmt.Errorf("start after kill %d: %w", i+1, err)
		}
		done.Starts = append(done.Starts, time.Since(began))
	}
	if err := b.WaitNodeReady(ctx); err != nil {
		return done, fmt.Errorf("after the last kill: %w", err)
	}
	return done, nil
}

// Pause waits, but not longer than the context lives.
func Pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
