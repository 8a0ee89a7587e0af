package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/procfs"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// How much the heap may grow between two collections, in hundredths of what is live.
// With 100 pods 9 MiB are live: to collect early keeps a third of the agent's memory
// from ever being used. When it is calm, collections are rare enough for more of them.
const (
	gcPercentBusy = 16
	gcPercentCalm = 12
)

// Two collections that are less than busyBelow apart tell that the agent is busy, none
// for calmAfter that it no longer is.
const (
	busyBelow = time.Second
	calmAfter = 5 * time.Second
)

// giveBackAfter is the shortest time between two times that memory is given back: who
// asks for all figures of the node every 15 seconds makes the agent busy as often.
const giveBackAfter = time.Minute

// pace is what has been since the start.
type pace struct {
	last        time.Time // when the last collection was
	givenBack   time.Time
	worthGiving bool // it was busy since
}

// paceCollector sets how much the heap may grow, and until ctx ends gives back what was
// needed by the start, and by whatever else kept the agent busy, when that is over.
// Nothing of that is done when GOGC is set.
func paceCollector(ctx context.Context, log *zap.Logger) {
	if os.Getenv("GOGC") != "" {
		return
	}
	collections := make(chan struct{}, 1)
	afterCollections(ctx, func() {
		select {
		case collections <- struct{}{}:
		default:
		}
	})
	p := pace{last: time.Now(), worthGiving: true}
	set := 0
	for {
		if percent := p.gcPercent(); percent != set { // setting it stops everything for a moment
			debug.SetGCPercent(percent)
			set = percent
		}
		var calm <-chan time.Time
		if p.worthGiving {
			calm = time.After(p.calmIn(time.Now()))
		}
		select {
		case <-ctx.Done():
			return
		case <-collections:
			p.collected(time.Now())
		case <-calm:
			giveBack(log)
			p.gaveBack(time.Now())
		}
	}
}

// collected takes in that there was a collection now. That of giving back does not say
// that the agent is busy.
func (p *pace) collected(now time.Time) {
	if now.Sub(p.givenBack) < busyBelow {
		return
	}
	p.worthGiving = p.worthGiving || now.Sub(p.last) < busyBelow
	p.last = now
}

// gcPercent is how much the heap may grow now.
func (p *pace) gcPercent() int {
	if p.worthGiving {
		return gcPercentBusy
	}
	return gcPercentCalm
}

// calmIn is how long after now it is time to give back memory if nothing is collected
// until then: a heap that has grown while it was busy may not be for minutes.
func (p *pace) calmIn(now time.Time) time.Duration {
	return max(calmAfter-now.Sub(p.last), giveBackAfter-now.Sub(p.givenBack), 0)
}

// gaveBack takes in that memory was given back now, which begins with a collection.
func (p *pace) gaveBack(now time.Time) { *p = pace{last: now, givenBack: now} }

// afterCollections calls f after collections until ctx ends, one call at a time: not
// after one that ends before the call for the last.
func afterCollections(ctx context.Context, f func()) {
	if ctx.Err() != nil {
		return
	}
	// What nobody holds is found by the next collection.
	runtime.AddCleanup(new([8]*byte), func(struct{}) {
		f()
		afterCollections(ctx, f)
	}, struct{}{})
}

// giveBack returns to the system what is not in use.
func giveBack(log *zap.Logger) {
	debug.FreeOSMemory()
	if err := unmapProgram(); err != nil {
		log.Info("what is not used of the program stays in memory", zap.Error(err))
	}
}

// unmapProgram lets go of the pages of the program itself: code, tables, constants.
// They stay in the page cache, and those that are used again come back without being
// read. Data that is written to is not touched.
func unmapProgram() error {
	const doing = "release the pages of the program: %w"
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf(doing, err)
	}
	self, err := procfs.Self()
	if err != nil {
		return fmt.Errorf(doing, err)
	}
	maps, err := self.ProcMaps()
	if err != nil {
		return fmt.Errorf(doing, err)
	}
	found := false
	for _, m := range maps {
		if m.Pathname != program || m.Perms.Write || !m.Perms.Private {
			continue
		}
		found = true
		if _, _, code := unix.Syscall(unix.SYS_MADVISE, m.StartAddr, m.EndAddr-m.StartAddr, unix.MADV_DONTNEED); code != 0 {
			return fmt.Errorf(doing, code)
		}
	}
	if !found {
		return fmt.Errorf(doing, errors.New("it is not among what this process has mapped"))
	}
	return nil
}
