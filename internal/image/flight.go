package image

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Waiting is a pull that somebody waits for.
type Waiting struct {
	// Image is the reference being pulled, Since when it was first asked for.
	Image string
	Since time.Time
	// Pulling says that the runtime is at it; else it waits for its turn.
	Pulling bool
	// Waiters counts the containers that want it.
	Waiters int
}

// flights shares pulls by reference.
type flights struct {
	limits limits

	mu     sync.Mutex
	flying map[string]*flight
}

type flight struct {
	since  time.Time
	cancel context.CancelFunc
	done   chan struct{} // closed once result and err are set

	// Guarded by flights.mu.
	waiters int
	pulling bool

	result pulled
	err    error
}

type pulled struct {
	ref  string
	size int64
	took time.Duration
}

// join waits for the pull of name, and starts it when there is none. The pull
// has a life of its own: it ends early only when its last waiter has gone.
func (f *flights) join(ctx context.Context, name string, pull func(context.Context) (pulled, error)) (pulled, error) {
	fl := f.board(ctx, name, pull)
	defer f.leave(name, fl)
	select {
	case <-fl.done:
		return fl.result, fl.err
	case <-ctx.Done():
		return pulled{}, fmt.Errorf("wait for the pull of image %q: %w", name, context.Cause(ctx))
	}
}

func (f *flights) board(ctx context.Context, name string, pull func(context.Context) (pulled, error)) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl := f.flying[name]
	if fl == nil {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{since: time.Now(), cancel: cancel, done: make(chan struct{})}
		f.flying[name] = fl
		go f.fly(own, name, fl, pull)
	}
	fl.waiters++
	return fl
}

// leave takes a waiter off. Who asks after the last one left starts anew, and
// does not get the cancelled pull's error.
func (f *flights) leave(name string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.waiters--
	if fl.waiters == 0 {
		fl.cancel()
		f.land(name, fl)
	}
}

// land takes a flight off the map, unless a newer one is there.
func (f *flights) land(name string, fl *flight) {
	if f.flying[name] == fl {
		delete(f.flying, name)
	}
}

func (f *flights) fly(ctx context.Context, name string, fl *flight, pull func(context.Context) (pulled, error)) {
	defer func() {
		if r := recover(); r != nil { // nobody else could, on this goroutine
			fl.err = &pod.Failure{Reason: ReasonPull, Message: fmt.Sprintf("pull of image %q panicked: %v", name, r),
				Err: fmt.Errorf("panic: %v\n%s", r, debug.Stack())}
		}
		f.mu.Lock()
		f.land(name, fl)
		f.mu.Unlock()
		close(fl.done)
		fl.cancel()
	}()
	release, err := f.limits.acquire(ctx)
	if err != nil {
		fl.err = pullFailed(name, fmt.Errorf("wait for a turn to pull: %w", err))
		return
	}
	defer release()
	f.mu.Lock()
	fl.pulling = true
	f.mu.Unlock()
	fl.result, fl.err = pull(ctx)
}

func (f *flights) waiting() []Waiting {
	f.mu.Lock()
	all := make([]Waiting, 0, len(f.flying))
	for name, fl := range f.flying {
		all = append(all, Waiting{Image: name, Since: fl.since, Pulling: fl.pulling, Waiters: fl.waiters})
	}
	f.mu.Unlock()
	slices.SortFunc(all, func(a, b Waiting) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Image, b.Image))
	})
	return all
}
