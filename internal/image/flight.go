package image

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Waiting is a pull that somebody waits for.
type Waiting struct {
	// Image is the reference being pulled, as the pods have it, Since when it was
	// first asked for. Pulls that may not be shared are listed on their own.
	Image string
	Since time.Time
	// Began is when the runtime was asked; zero while the pull waits for its turn.
	Began time.Time
	// Pulling says that the runtime is at it; else it waits for its turn.
	Pulling bool
	// Waiters counts the containers that want it.
	Waiters int
}

// key is what those who share a pull have in common, see the package comment.
type key struct {
	image, namespace, class string
	credentials             [sha256.Size]byte
}

// flights shares pulls by key.
type flights struct {
	limits limits

	mu     sync.Mutex
	flying map[key]*flight
}

type flight struct {
	since  time.Time
	cancel context.CancelFunc
	done   chan struct{} // closed once result and err are set

	// Guarded by flights.mu.
	waiters int
	began   time.Time // zero: not yet

	result pulled
	err    error
}

type pulled struct {
	ref  string
	size int64
	took time.Duration
	used int // which of the credentials, or anonymous
}

// firstNews is when who waits for a pull is told so for the first time, in the
// time that it has waited; then each time it has doubled.
const firstNews = 30 * time.Second

// news is called with how long somebody has waited, and whether the runtime is
// at it.
type news func(waited time.Duration, pulling bool)

// join waits for the pull of k, and starts it when there is none. The pull has a
// life of its own: it ends early only when its last waiter has gone.
func (f *flights) join(ctx context.Context, k key, pull func(context.Context) (pulled, error), tell news) (pulled, error) {
	fl := f.board(ctx, k, pull)
	defer f.leave(k, fl)
	waited := firstNews
	timer := time.NewTimer(waited)
	defer timer.Stop()
	for {
		select {
		case <-fl.done:
			return fl.result, fl.err
		case <-ctx.Done():
			return pulled{}, fmt.Errorf("wait for the pull of image %q: %w", k.image, context.Cause(ctx))
		case <-timer.C:
			tell(waited, f.begun(fl))
			timer.Reset(waited) // from now on, twice as long
			waited *= 2
		}
	}
}

func (f *flights) board(ctx context.Context, k key, pull func(context.Context) (pulled, error)) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl := f.flying[k]
	if fl == nil {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{since: time.Now(), cancel: cancel, done: make(chan struct{})}
		f.flying[k] = fl
		go f.fly(own, k, fl, pull)
	}
	fl.waiters++
	return fl
}

// leave takes a waiter off. Who asks after the last one left starts anew, and
// does not get the cancelled pull's error.
func (f *flights) leave(k key, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.waiters--
	if fl.waiters == 0 {
		fl.cancel()
		f.land(k, fl)
	}
}

// land takes a flight off the map, unless a newer one is there.
func (f *flights) land(k key, fl *flight) {
	if f.flying[k] == fl {
		delete(f.flying, k)
	}
}

func (f *flights) fly(ctx context.Context, k key, fl *flight, pull func(context.Context) (pulled, error)) {
	defer func() {
		if r := recover(); r != nil { // nobody else could, on this goroutine
			fl.err = &pod.Failure{Reason: ReasonPull, Message: fmt.Sprintf("pull of image %q panicked: %v", k.image, r),
				Err: fmt.Errorf("panic: %v\n%s", r, debug.Stack())}
		}
		f.mu.Lock()
		f.land(k, fl)
		f.mu.Unlock()
		close(fl.done)
		fl.cancel()
	}()
	release, err := f.limits.acquire(ctx)
	if err != nil {
		fl.err = pullFailed(k.image, fmt.Errorf("wait for a turn to pull: %w", err))
		return
	}
	defer release()
	f.mu.Lock()
	fl.began = time.Now()
	f.mu.Unlock()
	fl.result, fl.err = pull(ctx)
}

func (f *flights) begun(fl *flight) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !fl.began.IsZero()
}

func (f *flights) waiting() []Waiting {
	f.mu.Lock()
	all := make([]Waiting, 0, len(f.flying))
	for k, fl := range f.flying {
		all = append(all, Waiting{Image: k.image, Since: fl.since, Began: fl.began, Pulling: !fl.began.IsZero(), Waiters: fl.waiters})
	}
	f.mu.Unlock()
	slices.SortFunc(all, func(a, b Waiting) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Image, b.Image))
	})
	return all
}
