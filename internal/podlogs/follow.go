package podlogs

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

const (
	// lookEvery is how often a follower looks that nothing wakes up.
	lookEvery = time.Second
	// settling is how long a rotated file is still read after the next one has
	// appeared: a runtime that reopens its log makes the new file before it has
	// written its last line to the old one.
	settling = 100 * time.Millisecond
)

// progress is where a follower stands after it has read all there is.
type progress uint8

const (
	caughtUp  progress = iota
	moved              // there is more to read
	unsettled          // there is a next file, but the present one may still grow
	removed            // the log was removed, nothing can follow
)

// followUntil reads until the container has ended, the log was removed, or ctx
// ended.
func (s *reading) followUntil(ctx context.Context, w *watcher, ended Ended) error {
	if err := s.out.flush(); err != nil {
		return err
	}
	var sub *subscription
	defer func() { w.unsubscribe(sub) }()
	var again <-chan struct{}
	over, refused := false, false
	for {
		where, err := s.drain(ctx, over)
		if err != nil {
			return err
		}
		if where == removed { // perhaps right after its last line
			if err := s.pump(ctx); err != nil {
				return err
			}
		}
		if over || where == removed {
			return s.finishLine()
		}
		if ended != nil {
			if over, again = ended(); over {
				continue // what was written before the end may not be read yet
			}
		}
		if err := s.out.flush(); err != nil {
			return err
		}
		s.in.park()
		if sub == nil && !refused {
			sub, err = w.subscribe(ctx, s.dir, again)
			refused = err != nil && !errors.Is(err, errNobodyWatches)
			continue // what came before the answer woke nobody up
		}
		if sub.isLost() {
			w.unsubscribe(sub)
			sub = nil
			continue
		}
		s.wait(ctx, sub, again, where)
		refused = false
	}
}

// wait returns when it is worth looking again.
func (s *reading) wait(ctx context.Context, sub *subscription, again <-chan struct{}, where progress) {
	var wake, lost <-chan struct{}
	pause := time.Duration(-1)
	if sub != nil {
		wake, lost = sub.wake, sub.dir.lost
	} else {
		pause = lookEvery
	}
	if where == unsettled {
		pause = max(time.Until(s.nextSeen.Add(settling)), 0)
	}
	var look <-chan time.Time
	if pause >= 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		look = timer.C
	}
	select {
	case <-ctx.Done():
	case <-wake:
	case <-lost:
	case <-again:
	case <-look:
	}
}

// drain reads all there is, through as many files as rotation has made of it.
func (s *reading) drain(ctx context.Context, over bool) (progress, error) {
	for {
		began := time.Now()
		if err := s.pump(ctx); err != nil {
			return caughtUp, err
		}
		if where, err := s.advance(began, over); where != moved || err != nil {
			return where, err
		}
	}
}

// advance goes on to the next file, or back to the beginning of one that was
// truncated. The source was read to its end after began.
func (s *reading) advance(began time.Time, over bool) (progress, error) {
	shrunk, gone, err := s.src.state()
	if err != nil {
		return caughtUp, err
	}
	if shrunk {
		s.log.Debug("a log was truncated and is read from its beginning", zap.String("path", s.src.f.Name()))
		s.src.pos, s.long = 0, none
		s.in.drop()
		return moved, nil
	}
	next, present, err := s.dir.successor(s.src)
	if err != nil {
		return caughtUp, err
	}
	if next == nil {
		s.nextSeen = time.Time{}
		if gone && !present {
			return removed, nil
		}
		return caughtUp, nil
	}
	// The present file has to be read to its end once more from here on.
	if s.nextSeen.IsZero() {
		s.nextSeen = time.Now()
	}
	complete, otherwise := s.nextSeen, moved
	if next.at == "" && !over { // it was rotated just now
		complete, otherwise = s.nextSeen.Add(settling), unsettled
	}
	if began.Before(complete) {
		next.close()
		return otherwise, nil
	}
	if err := s.finishLine(); err != nil {
		next.close()
		return caughtUp, err
	}
	s.src.close()
	s.src, s.nextSeen = next, time.Time{}
	return moved, nil
}
