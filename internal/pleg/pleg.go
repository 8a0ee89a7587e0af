package pleg

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	// eventRelist is how often to list while events flow; it is jittered so that
	// the nodes of a cluster, and the agent's own loops, do not beat together.
	eventRelist = 30 * time.Second
	jitter      = 0.2
	// pollRelist is how often to list while they do not, as in the kubelet.
	pollRelist = time.Second
	// settle is when to list again after a stream was opened: the runtime may
	// have taken the subscription a moment after the first list.
	settle = time.Second
	// threshold is how long the runtime may be silent (kubelet: pleg/generic.go).
	threshold = 3 * time.Minute

	minReconnect = 100 * time.Millisecond
	maxReconnect = 30 * time.Second
	// stable is how long a stream must have lived for its end to be a surprise.
	stable = 10 * time.Second
)

// Config connects a PLEG to a runtime. Relist and Events are required.
type Config struct {
	// Relist lists every pod of the runtime.
	Relist func(context.Context) ([]pod.Listing, error)
	// Events calls its argument for every event until the stream ends. The first
	// call says that the stream is open. A hint without a UID asks for a relist.
	Events func(context.Context, func(pod.Hint)) error
	// RelistTook and RelistInterval, if set, hear how long each list took and how
	// long after the one before it began
	// (kubelet_pleg_relist_duration_seconds, kubelet_pleg_relist_interval_seconds).
	RelistTook     func(time.Duration)
	RelistInterval func(time.Duration)
	// Stream, if set, hears of each attempt to open the event stream: nil when it
	// was opened.
	Stream func(error)
}

// PLEG watches a runtime. Make one with New, and run it once.
type PLEG struct {
	cfg Config
	log *zap.Logger
	// seen is when a list last succeeded, in Unix nanoseconds; zero is never.
	seen atomic.Int64
}

// New returns a PLEG that does nothing before Run.
func New(cfg Config, log *zap.Logger) *PLEG {
	if cfg.RelistTook == nil {
		cfg.RelistTook = func(time.Duration) {}
	}
	if cfg.RelistInterval == nil {
		cfg.RelistInterval = func(time.Duration) {}
	}
	if cfg.Stream == nil {
		cfg.Stream = func(error) {}
	}
	return &PLEG{cfg: cfg, log: log}
}

// LastSeen is when a list last succeeded; zero is never.
func (p *PLEG) LastSeen() time.Time {
	if seen := p.seen.Load(); seen != 0 {
		return time.Unix(0, seen)
	}
	return time.Time{}
}

// Healthy returns nil as long as the runtime answered within three minutes. It
// never waits. The text is the kubelet's, which operators search for.
func (p *PLEG) Healthy() error {
	seen := p.seen.Load()
	if seen == 0 {
		return errors.New("pleg has yet to be successful")
	}
	if ago := time.Since(time.Unix(0, seen)); ago > threshold {
		return fmt.Errorf("pleg was last seen active %v ago; threshold is %v", ago.Round(time.Millisecond), threshold)
	}
	return nil
}

// Run watches until ctx ends, and returns ctx's error once everything it
// started has ended. Hints go to one channel, the full list to the other: at
// the first success and whenever the set of pods changed. A reader that is slow
// holds up only its own channel, and finds the newest list there.
func (p *PLEG) Run(ctx context.Context, hints chan<- pod.Hint, listings chan<- []pod.Listing) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	l := &loop{p: p, results: make(chan result, 1), wg: &wg}
	news := make(chan streamNews)
	wg.Go(func() { p.follow(ctx, news) })

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		out, first := hints, pod.Hint{}
		if len(l.queue) > 0 {
			first = l.queue[0]
		} else {
			out = nil
		}
		lists := listings
		if !l.unsent {
			lists = nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case n := <-news:
			l.news(n)
		case <-timer.C:
			l.due = true
		case r := <-l.results:
			l.listed(r)
		case out <- first:
			l.queue = l.queue[1:]
		case lists <- l.list:
			l.unsent = false
		}
		if l.due && !l.busy {
			l.start(ctx)
		}
		if l.rearm {
			l.rearm = false
			timer.Reset(l.wait())
		}
	}
}

// loop is the state of Run, touched by its goroutine alone.
type loop struct {
	p  *PLEG
	wg *sync.WaitGroup
	// known is the last list by UID, nil before the first. list is the last one
	// that has to be sent; unsent says that nobody has taken it yet.
	known  map[types.UID]pod.Listing
	list   []pod.Listing
	unsent bool
	// queue holds the hints nobody has taken, at most one per pod.
	queue []pod.Hint
	// due says a list is wanted, busy that one runs, rearm that the timer is to
	// be set anew.
	due, busy, rearm bool
	results          chan result
	// began is when the last list began; failed says how it ended.
	began  time.Time
	failed bool
	// flowing says that the stream is open, fresh that it was opened after the
	// last list was planned.
	flowing, fresh bool
}

type result struct {
	list []pod.Listing
	took time.Duration
	err  error
}

// streamNews is what the stream's goroutine tells the loop.
type streamNews struct {
	hint   pod.Hint
	opened bool
	closed bool
}

func (l *loop) news(n streamNews) {
	switch {
	case n.opened:
		l.flowing, l.fresh, l.due = true, true, true
	case n.closed:
		if l.flowing {
			l.flowing, l.rearm = false, true
		}
	case n.hint.UID == "":
		l.due = true
	default:
		l.hint(n.hint)
	}
}

// hint queues a hint, with the one that waits for the pod already, if there is one.
func (l *loop) hint(h pod.Hint) {
	for i := range l.queue {
		if l.queue[i].UID == h.UID {
			l.queue[i] = l.queue[i].Merge(h)
			return
		}
	}
	l.queue = append(l.queue, h)
}

// start lists in a goroutine of its own: a runtime that is slow to list must
// not hold up its events.
func (l *loop) start(ctx context.Context) {
	l.due, l.busy = false, true
	now := time.Now()
	if !l.began.IsZero() {
		l.p.cfg.RelistInterval(now.Sub(l.began))
	}
	l.began = now
	l.wg.Go(func() {
		list, err := l.p.cfg.Relist(ctx)
		l.results <- result{list: list, took: time.Since(now), err: err}
	})
}
