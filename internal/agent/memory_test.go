package agent

import (
	"context"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"go.uber.org/zap"
)

func TestProgramIsUnmapped(t *testing.T) {
	resident := func() uint64 {
		self, err := procfs.Self()
		if err != nil {
			t.Fatal(err)
		}
		status, err := self.NewStatus()
		if err != nil {
			t.Fatal(err)
		}
		return status.RssFile
	}
	before := resident()
	if err := unmapProgram(); err != nil {
		t.Fatal(err)
	}
	// This code is in memory again, most of the program is not.
	if after := resident(); after > before/2 {
		t.Errorf("%d KiB of the program in memory, %d before", after>>10, before>>10)
	}
}

// TestMemoryIsGivenBackOnceInAWhile: after it was busy, and not for every short while in
// which it was.
func TestMemoryIsGivenBackOnceInAWhile(t *testing.T) {
	t.Parallel()
	start := time.Now()
	p := pace{last: start, worthGiving: true}
	var given []int
	now := start
	// until lets time pass: nothing is collected.
	until := func(seconds float64) {
		end := start.Add(time.Duration(seconds * float64(time.Second)))
		if at := now.Add(p.calmIn(now)); p.worthGiving && at.Before(end) {
			p.gaveBack(at)
			p.collected(at.Add(100 * time.Millisecond)) // its own
			given = append(given, int(at.Sub(start).Seconds()))
		}
		now = end
	}
	at := func(seconds float64) {
		until(seconds)
		p.collected(now)
	}
	for _, s := range []float64{0.5, 1, 1.5} { // the start
		at(s)
	}
	for s := 20.0; s < 200; s += 15 { // asked for all figures
		at(s)
		at(s + 0.2)
		at(s + 0.4)
	}
	at(201)
	at(201.5) // many pods start, and nothing is collected afterwards
	until(1000)
	if want := []int{6, 70, 130, 190, 250}; !slices.Equal(given, want) {
		t.Errorf("given back after %v seconds, want %v", given, want)
	}
}

// TestHeapGrowsLessWhenCalm: from the first time that memory was given back, until two
// collections follow each other closely.
func TestHeapGrowsLessWhenCalm(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := pace{last: now, worthGiving: true}
	is := func(want int, when string) {
		if got := p.gcPercent(); got != want {
			t.Errorf("%s it may grow by %d %%, not %d", when, got, want)
		}
	}
	is(gcPercentBusy, "at the start")
	p.gaveBack(now)
	p.collected(now.Add(100 * time.Millisecond)) // its own
	is(gcPercentCalm, "when it became calm")
	p.collected(now.Add(busyBelow))
	p.collected(now.Add(6 * busyBelow))
	is(gcPercentCalm, "with one collection in a while")
	p.collected(now.Add(6*busyBelow + 300*time.Millisecond))
	is(gcPercentBusy, "when it is busy again")
}

func TestEachCollectionIsNoticed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	noticed := make(chan struct{})
	afterCollections(ctx, func() {
		select {
		case noticed <- struct{}{}:
		case <-ctx.Done():
		}
	})
	for range 3 {
		for seen := false; !seen; {
			runtime.GC() // one that comes before the last is dealt with is not noticed
			select {
			case <-noticed:
				seen = true
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}

func TestThePaceThatIsSetIsKept(t *testing.T) {
	was := debug.SetGCPercent(77)
	defer debug.SetGCPercent(was)
	t.Setenv("GOGC", "77")
	paceCollector(t.Context(), zap.NewNop())
	if got := debug.SetGCPercent(77); got != 77 {
		t.Errorf("GOGC is 77, the collector runs at %d", got)
	}
}
