package podlogs

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/podlogs/rotate"
)

const (
	// lookEvery is how often a follower looks that nothing wakes up.
	lookEvery = time.Second
	// settling is how long a rotated file is still read after the next one has
	// appeared: a runtime that reopens its log makes the new file before it has
	// written its last line to the old one.
	settling = 100 * time.Millisecond
	// patience is how long a rotated file that somebody has open for writing holds up
	// its readers, and lookAgain how often they look meanwhile.
	patience  = 2 * time.Second
	lookAgain = 5 * time.Millisecond
	// pace is the shortest time between two looks at a log that is always written to:
	// many lines that are sent at once cost all who pass them on much less.
	pace = 10 * time.Millisecond
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
		sent := time.Now()
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
		if where == caughtUp {
			gather(ctx, again, pace-time.Since(sent))
		}
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
		pause = lookAgain
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

// gather lets more lines come.
func gather(ctx context.Context, again <-chan struct{}, pause time.Duration) {
	if pause <= 0 {
		return
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-again:
	case <-timer.C:
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
		return caughtUp, s.orFellBehind(err)
	}
	if shrunk {
		s.log.Debug("a log was truncated and is read from its beginning", zap.String("path", s.src.f.Name()))
		s.src.pos, s.long = 0, none
		s.in.drop()
		return moved, nil
	}
	next, present, err := s.next()
	if err != nil {
		return caughtUp, err
	}
	if next == nil {
		s.nextSeen, s.unwritten = time.Time{}, time.Time{}
		if gone && !present {
			return removed, nil
		}
		return caughtUp, nil
	}
	if where := s.complete(began, next, over); where != caughtUp {
		s.later(next)
		return where, nil
	}
	if err := s.finishLine(); err != nil {
		s.later(next)
		return caughtUp, err
	}
	s.nextSeen = time.Time{}
	s.proceed(next)
	return moved, nil
}

// next opens the file that follows, nil if there is none.
func (s *reading) next() (next *source, present bool, err error) {
	if s.cutOff() {
		return nil, false, ErrFellBehind
	}
	if len(s.queue) > 0 {
		return s.queue[0], true, nil
	}
	return s.dir.successor(s.shelf, s.src)
}

// later puts back what next has returned.
func (s *reading) later(next *source) {
	if len(s.queue) == 0 {
		next.close()
	}
}

// complete says whether all of the present file was read, since there is a next
// one: caughtUp, or what has to be done first. The kernel knows whether the runtime
// still writes to it. Where it does not, some time has to do.
func (s *reading) complete(began time.Time, next *source, over bool) progress {
	if s.nextSeen.IsZero() {
		s.nextSeen = time.Now()
	}
	if over || s.src.zipped {
		return s.readSince(began, s.nextSeen)
	}
	if !s.unwritten.IsZero() {
		return s.readSince(began, s.unwritten)
	}
	written, known := rotate.Written(s.src.f)
	switch {
	case known && !written:
		s.unwritten = time.Now()
		return moved // to its end once more
	case known && time.Since(s.nextSeen) < patience:
		return unsettled
	case !known && s.isLive(next): // it was rotated just now
		if where := s.readSince(began, s.nextSeen.Add(settling)); where == caughtUp {
			return where
		}
		return unsettled
	}
	return s.readSince(began, s.nextSeen)
}

// isLive says whether the next file was not rotated when it was opened.
func (s *reading) isLive(next *source) bool {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	return next.at == ""
}

// readSince says whether the present file was read to its end after a moment.
func (s *reading) readSince(began, moment time.Time) progress {
	if began.Before(moment) {
		return moved
	}
	return caughtUp
}
