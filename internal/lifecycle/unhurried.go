package lifecycle

import (
	"context"
	"sync"
	"time"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	// removals is how many sandboxes are removed at a time. It takes the runtime
	// longer than all else of a pod's end and nobody waits for it, unlike for what
	// the runtime has to do meanwhile: where many pods end at once it would take a
	// third of the processors from those that have not ended.
	removals = 2
	// removalWaits bounds how long a removal gives way: what hangs, and a node that
	// is never calm, hold it up for no longer.
	removalWaits = 20 * time.Second
	// breath is how long somebody whose sandbox was made or stopped is still in a hurry:
	// what is left to do for a pod then takes less, if no removal is in the way.
	breath = time.Second
)

// unhurried removes few sandboxes at a time, and those that nobody waits for when no
// other is made or stopped.
type unhurried struct {
	Sandboxes
	// places are those of removals that go on, waiting of those that give way.
	places, waiting chan struct{}

	mu sync.Mutex
	// hurried counts the sandboxes that are being made or stopped, or were a breath
	// ago; calm, if not nil, is closed when there are none.
	hurried int
	calm    chan struct{}
}

func newUnhurried(s Sandboxes) *unhurried {
	return &unhurried{Sandboxes: s, places: make(chan struct{}, removals), waiting: make(chan struct{}, removals)}
}

// CreateSandbox goes before every removal.
func (u *unhurried) CreateSandbox(ctx context.Context, req pod.SandboxRequest) (string, error) {
	defer u.hurry()()
	return u.Sandboxes.CreateSandbox(ctx, req)
}

// StopSandbox goes before every removal.
func (u *unhurried) StopSandbox(ctx context.Context, id string) error {
	defer u.hurry()()
	return u.Sandboxes.StopSandbox(ctx, id)
}

// RemoveSandbox waits for a place.
func (u *unhurried) RemoveSandbox(ctx context.Context, id string) error {
	patience := time.NewTimer(removalWaits)
	defer patience.Stop()
	select {
	case u.places <- struct{}{}:
		defer func() { <-u.places }()
	case <-patience.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return u.Sandboxes.RemoveSandbox(ctx, id)
}

// removeLater waits until it is calm, and then for a place. Few wait for the former at
// a time, and they keep no place from others meanwhile.
func (u *unhurried) removeLater(ctx context.Context, id string) error {
	patience, cancel := context.WithTimeout(ctx, removalWaits)
	defer cancel()
	select {
	case u.waiting <- struct{}{}:
		defer func() { <-u.waiting }()
		u.awaitCalm(patience)
	case <-patience.Done():
	}
	return u.RemoveSandbox(ctx, id)
}

// hurry notes that somebody is in a hurry until a breath after done is called.
func (u *unhurried) hurry() (done func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.hurried++
	return func() { time.AfterFunc(breath, u.relax) }
}

// relax notes that somebody no longer is in a hurry.
func (u *unhurried) relax() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.hurried--; u.hurried == 0 && u.calm != nil {
		close(u.calm)
		u.calm = nil
	}
}

// awaitCalm waits until nobody is in a hurry, or ctx ends.
func (u *unhurried) awaitCalm(ctx context.Context) {
	u.mu.Lock()
	if u.hurried == 0 {
		u.mu.Unlock()
		return
	}
	if u.calm == nil {
		u.calm = make(chan struct{})
	}
	calm := u.calm
	u.mu.Unlock()
	select {
	case <-calm:
	case <-ctx.Done():
	}
}
