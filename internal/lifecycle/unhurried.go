package lifecycle

import (
	"context"
	"time"
)

const (
	// removals is how many sandboxes are removed at a time. It takes the runtime
	// longer than all else of a pod's end and nobody waits for it, unlike for what
	// the runtime has to do meanwhile: where many pods end at once it would take a
	// third of the processors from those that have not ended.
	removals = 2
	// removalWaits bounds how long a removal waits for a place: what hangs holds
	// nobody up for longer.
	removalWaits = 10 * time.Second
)

// unhurried removes few sandboxes at a time.
type unhurried struct {
	Sandboxes
	places chan struct{}
}

func newUnhurried(s Sandboxes) unhurried { return unhurried{s, make(chan struct{}, removals)} }

// RemoveSandbox waits for a place.
func (u unhurried) RemoveSandbox(ctx context.Context, id string) error {
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
