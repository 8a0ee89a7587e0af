package lifecycle

import (
	"context"
	"errors"
	"time"
)

// aliveTimeout is how long the supervisor's loop may take to answer.
const aliveTimeout = 10 * time.Second

// Alive returns nil when the supervisor's loop answers. It is what the health
// endpoint and the watchdog stand for: pods can be driven.
func (s *Supervisor) Alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, aliveTimeout, errors.New("the supervisor did not answer within "+aliveTimeout.String()))
	defer cancel()
	select {
	case s.pings <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
