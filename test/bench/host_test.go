//go:build e2e

package bench

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// hostTime is the time that a virtual machine's host kept for others, and all that has
// passed on the processors.
type hostTime struct{ stolen, total time.Duration }

func hostTimeNow(t *testing.T) (h hostTime) {
	t.Helper()
	f, err := processors()
	must(t, "looking at the machine", err)
	h.stolen, err = sumTicks(f[steal])
	must(t, "looking at the machine", err)
	h.total, err = sumTicks(f[1:]...)
	must(t, "looking at the machine", err)
	return h
}

func (h hostTime) since(before hostTime) hostTime {
	return hostTime{h.stolen - before.stolen, h.total - before.total}
}

// part is what was kept of the time, of 1.
func (h hostTime) part() float64 { return h.stolen.Seconds() / max(h.total.Seconds(), 1) }

// hostAsked is how long the processors are wanted: a host that is busy shows only to who
// wants them.
const hostAsked = 15 * time.Second

// awaitCalm returns when the host leaves the machine its processors, or patience, of
// which it takes what it waited, is used up.
func awaitCalm(t *testing.T, patience *time.Duration) {
	t.Helper()
	for ; *patience > 0; *patience -= hostAsked {
		before := hostTimeNow(t)
		wantProcessors(hostAsked)
		part := hostTimeNow(t).since(before).part()
		if part <= disturbed {
			return
		}
		t.Logf("the host keeps %.0f %% of the processors' time: waiting until it is at most %.0f %%, for %s at most",
			100*part, 100*disturbed, patience.Round(time.Minute))
	}
}

// wantProcessors has all of them busy and idle in turn for a while, as a bed has: a host
// leaves a processor that is always busy where it is, and gives away one that goes idle.
func wantProcessors(long time.Duration) {
	const turn = time.Millisecond
	end := time.Now().Add(long)
	var busy sync.WaitGroup
	for range runtime.NumCPU() {
		busy.Go(func() {
			for start := range time.Tick(2 * turn) {
				if start.After(end) {
					return
				}
				for time.Since(start) < turn {
				}
			}
		})
	}
	busy.Wait()
}
