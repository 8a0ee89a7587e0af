package local

import (
	"context"
	"sync"
)

// locks are locks by name that are waited for no longer than a context lasts.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when it is free
}

// take waits for a lock and returns what gives it back.
func (l *locks) take(ctx context.Context, name string) (release func(), err error) {
	for {
		l.mu.Lock()
		other := l.held[name]
		if other == nil {
			mine := make(chan struct{})
			l.held[name] = mine
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.held, name)
				l.mu.Unlock()
				close(mine)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
