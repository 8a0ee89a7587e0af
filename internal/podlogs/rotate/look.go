package rotate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// quiet is how long after a rotation older files are compressed. What fills faster
	// is gone before that would be of use, unless somebody has yet to read it: of what is
	// compressed ten times as much fits on the disk.
	quiet = time.Second
	// firstRetry is the pause after a failure. It doubles up to the interval.
	firstRetry = time.Second
)

// seen is what was seen of a log, and what follows.
type seen struct {
	path   string
	cancel func() // ends the watch; nil: there is none

	looked time.Time // the last look
	size   int64     // bytes, as it was
	since  time.Time // when it began to grow from that

	rotated  time.Time // the last rotation
	rotation string    // its time, as in the file's name
	previous string    // that of the one before
	reopen   bool      // the runtime may not have opened the log that is there
	packAt   time.Time // when older files are to be compressed; zero: they are
	hurried  bool      // somebody has yet to read them
	failures int
}

// turn looks at a log when that is due, and sees to it that the next look comes.
func (r *Rotator) turn(ctx context.Context, work *sync.WaitGroup, l *log, heard, over bool) {
	s := &l.seen
	r.mu.Lock()
	if l.repack {
		l.repack, s.packAt = false, time.Now().Add(quiet)
	}
	r.mu.Unlock()
	if s.cancel != nil { // a watch is for one event
		s.cancel()
		s.cancel = nil
	}
	if over {
		if l.timer != nil {
			l.timer.Stop()
		}
		r.pack(ctx, work, l)
		return
	}
	if heard {
		s.since = time.Now()
		r.callIn(l, max(soonest, r.spell-time.Since(s.looked)))
		return
	}
	due, err := r.look(ctx, l)
	if err != nil {
		r.failed(ctx, l, err)
		return
	}
	s.failures = 0
	pause := max(due, 0)
	if due > r.spell {
		if pause, err = r.watch(ctx, l); err != nil {
			pause = r.cfg.MonitorInterval // the watcher has said why
		}
	}
	if !s.packAt.IsZero() {
		if left := time.Until(s.packAt); left > 0 && (pause < 0 || left < pause) {
			pause = left
		} else if left <= 0 {
			r.pack(ctx, work, l)
		}
	}
	if pause >= 0 {
		r.callIn(l, pause)
	}
}

// failed tells, and calls again after a pause.
func (r *Rotator) failed(ctx context.Context, l *log, err error) {
	if ctx.Err() != nil {
		return
	}
	s := &l.seen
	tell := r.deps.Log.Debug
	if s.failures == 1 { // once may be a container that has just ended
		tell = r.deps.Log.Warn
	}
	pause := min(firstRetry<<min(s.failures, 10), max(r.cfg.MonitorInterval, firstRetry))
	s.failures++
	tell("a container's log cannot be rotated; trying again",
		zap.String("container", l.id), zap.String("log", s.path), zap.Duration("in", pause), zap.Error(err))
	r.callIn(l, pause)
}

// watch waits for the next write. It returns the pause after which to look when
// there was one already, else none.
func (r *Rotator) watch(ctx context.Context, l *log) (time.Duration, error) {
	cancel, err := r.deps.Readers.Once(ctx, l.seen.path, func() { r.hear(l) })
	if err != nil {
		return 0, err
	}
	l.seen.cancel = cancel
	p, err := open(r.cfg.PodsDir, l.seen.path)
	if err != nil {
		return firstRetry, nil
	}
	defer p.close()
	if size, _, err := p.size(); err != nil || size != l.seen.size {
		return r.spell, nil
	}
	return -1, nil
}

// look rotates the log if it is full. It returns when it may be full next.
func (r *Rotator) look(ctx context.Context, l *log) (time.Duration, error) {
	s := &l.seen
	first := s.path == ""
	if first {
		path, err := r.deps.Runtime.LogPath(ctx, l.id)
		if err != nil {
			return 0, err
		}
		s.path = path
	}
	p, err := open(r.cfg.PodsDir, s.path)
	if err != nil {
		return 0, err
	}
	defer p.close()
	size, there, err := p.size()
	if err != nil {
		return 0, err
	}
	if first {
		s.packAt = time.Now()
		s.reopen = there && r.abandoned(l, p)
	}
	if !there || s.reopen {
		if err := r.deps.Runtime.ReopenContainerLog(ctx, l.id); err != nil {
			return 0, err
		}
		s.reopen = false
	}
	now := time.Now()
	grown, took := size-s.size, now.Sub(s.since)
	if size < s.size { // truncated
		grown = size
	}
	full := size >= r.cfg.MaxSize
	if wait := soonest - now.Sub(s.rotated); full && wait > 0 {
		return wait, nil
	}
	if full {
		if err := r.rotate(ctx, l, p, size); err != nil {
			return 0, err
		}
		size, now = 0, time.Now()
	}
	if s.since.IsZero() { // nothing was seen to grow yet
		took = 0
	}
	s.looked, s.size, s.since = now, size, now
	return max(fullIn(size, r.cfg.MaxSize, grown, took), soonest), nil
}

// abandoned says whether the runtime writes to a file that was rotated although
// there is a log: the last agent has not seen it open that.
func (r *Rotator) abandoned(l *log, p *place) bool {
	l.names.Lock()
	defer l.names.Unlock()
	kept, _, err := p.list("")
	if err != nil || len(kept) == 0 {
		return false
	}
	f, err := p.file(kept[len(kept)-1].name)
	if err != nil {
		return false
	}
	defer f.Close()
	written, _ := Written(f)
	return written
}

// rotate gives the log another name and lets the runtime open a new one.
func (r *Rotator) rotate(ctx context.Context, l *log, p *place, size int64) error {
	if err := r.asks.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.asks.Release(1)
	name, err := r.rename(l, p, size)
	if err != nil {
		return fmt.Errorf("rotate log %q: %w", p.path, err)
	}
	r.at("rotate: renamed")
	if err := r.deps.Runtime.ReopenContainerLog(ctx, l.id); err != nil {
		return r.takeBack(l, p, name, err)
	}
	r.at("rotate: reopened")
	s, now := &l.seen, time.Now()
	s.rotated, s.packAt = now, now.Add(quiet)
	if s.hurried = r.deps.Readers.Behind(p.path, s.previous); s.hurried {
		s.packAt = now
	}
	return nil
}

// takeBack undoes the renaming of a log that the runtime has not opened anew. If
// there is one nevertheless, the runtime may write to either.
func (r *Rotator) takeBack(l *log, p *place, name string, why error) error {
	l.names.Lock()
	defer l.names.Unlock()
	err := p.dir.Rename(name, p.live)
	if errors.Is(err, fs.ErrExist) {
		l.seen.reopen, err = true, nil
	}
	return errors.Join(fmt.Errorf("let the runtime reopen log %q: %w", p.path, why), err)
}

// rename makes room beside the log and gives it another name, which is returned.
func (r *Rotator) rename(l *log, p *place, size int64) (string, error) {
	l.names.Lock()
	defer l.names.Unlock()
	kept, leftover, err := p.list(l.busy)
	if err != nil {
		return "", err
	}
	if err := p.remove(leftover); err != nil {
		return "", err
	}
	r.at("rotate: cleaned")
	readers, s := r.deps.Readers, &l.seen
	s.rotation = max(s.rotation, newest(kept))
	room := budget(r.cfg.MaxSize, r.cfg.MaxFiles, size) - size
	n := excess(kept, r.cfg.MaxFiles-2, room-readers.Held(p.path))
	for _, f := range kept[:n] {
		if err := readers.Unlink(p.path, p.removal(f)); err != nil {
			return "", fmt.Errorf("remove the rotated file %s: %w", f.name, err)
		}
		r.at("rotate: made room")
	}
	if held := readers.Held(p.path); held > 0 {
		if over := sizeOf(kept[n:]) + held - room; over > 0 {
			readers.Cut(p.path, over)
		}
	}
	s.previous, s.rotation = s.rotation, next(time.Now(), s.rotation)
	name := p.live + "." + s.rotation
	return name, p.dir.Rename(p.live, name)
}

// removal is how readers are told that a file goes.
func (p *place) removal(f file) Removal {
	return Removal{
		At: f.at, Compressed: f.compressed,
		Open:   func() (*os.File, error) { return p.file(f.name) },
		Remove: func() error { return p.dir.Remove(f.name) },
	}
}
