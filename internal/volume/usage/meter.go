package usage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Kind is what a volume is on the node.
type Kind int

const (
	// Tree is a directory in a file system that holds other things too.
	Tree Kind = iota
	// FileSystem is one of the volume's own, mounted on its directory. It may be a
	// server's that does not answer.
	FileSystem
)

// Volume is one to be measured.
type Volume struct {
	// Dir is where it is on the node, an absolute path.
	Dir  string
	Kind Kind
	// Confined tells that its pod is in a user namespace. Only then a project quota is
	// believed: other pods can take their files out of it.
	Confined bool
}

// Usage is what a volume holds.
type Usage struct {
	// Used is in bytes, InodesUsed counts files of all types and directories.
	Used, InodesUsed int64
	// Available and Capacity are the file system's, in bytes.
	Available, Capacity int64
	// Inodes and InodesFree are the file system's.
	Inodes, InodesFree int64
	// At is when Used and InodesUsed were right: when counting began.
	At time.Time
	// Incomplete tells that there is more than Used and InodesUsed say: something could
	// not be read, or the volume changed faster than it can be counted.
	Incomplete bool
}

// ErrUnknown tells that a volume has not been measured yet.
var ErrUnknown = errors.New("the volume has not been measured yet")

// Config is what a [Meter] needs to know. What is zero is the default.
type Config struct {
	// MaxAge is how old a count may be before whoever asks has it made again: 1 minute,
	// as often as the kubelet counts.
	MaxAge time.Duration
	// Share is how much of one processor, or of the time of one disk, walks may take:
	// 0.05.
	Share float64
	// Slice is how many entries are looked at between two pauses: 500.
	Slice int
	// HardLinks is how many inodes with several names are remembered: 250,000.
	HardLinks int
}

func (c Config) withDefaults() Config {
	if c.MaxAge <= 0 {
		c.MaxAge = time.Minute
	}
	if c.Share <= 0 || c.Share > 1 {
		c.Share = 0.05
	}
	if c.Slice <= 0 {
		c.Slice = 500
	}
	if c.HardLinks <= 0 {
		c.HardLinks = 250_000
	}
	return c
}

// pause is what follows a slice that took so long, so that slices take their share.
func (c Config) pause(took time.Duration) time.Duration {
	return min(maxPause, time.Duration(float64(took)*(1/c.Share-1)))
}

const (
	// maxWalks is how many walks take turns; the others wait. Each has a few open
	// directories.
	maxWalks = 16
	// forgotten is how long what nobody asks for is remembered.
	forgotten = 10 * time.Minute
	// maxPause is for a slice in which the disk stood still: that took no processor.
	maxPause = 10 * time.Second
)

// Meter measures volumes. It is safe for concurrent use.
type Meter struct {
	cfg  Config
	wake chan struct{}

	mu    sync.Mutex
	known map[string]*known
	queue []*known
}

// known is what is known of one volume. The meter's lock guards it.
type known struct {
	dir   string
	last  Usage
	err   error
	done  bool          // last or err is set
	ready chan struct{} // closed once done
	// busy: it waits for its turn, is being walked or is being asked.
	busy  bool
	gone  bool // forgotten
	asked time.Time
}

// New returns a meter. Directories are only walked while [Meter.Run] runs.
func New(cfg Config) *Meter {
	return &Meter{cfg: cfg.withDefaults(), wake: make(chan struct{}, 1), known: map[string]*known{}}
}

// Usage returns what a volume holds. A count is at most as old as somebody has asked
// for it before; an old one is returned at once and made again. Only who asks first
// waits, and no longer than ctx: then the error is [ErrUnknown].
func (m *Meter) Usage(ctx context.Context, v Volume) (Usage, error) {
	if v.Kind == FileSystem {
		return m.await(ctx, v, func(k *known) { go m.ask(v, k) })
	}
	u, whole, err := measure(v)
	if err != nil {
		return Usage{}, err
	}
	if whole {
		u.At = now()
		return u, nil
	}
	counted, err := m.await(ctx, v, func(k *known) {
		m.queue = append(m.queue, k)
		m.hint()
	})
	if err != nil {
		return Usage{}, err
	}
	u.Used, u.InodesUsed, u.At, u.Incomplete = counted.Used, counted.InodesUsed, counted.At, counted.Incomplete
	return u, nil
}

// Forget drops what is known of a volume that is gone.
func (m *Meter) Forget(dir string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.known[dir]
	if k == nil {
		return
	}
	delete(m.known, dir)
	k.gone = true
	if !k.done {
		k.done, k.err = true, fmt.Errorf("measure %s: %w: it is gone", dir, ErrUnknown)
		close(k.ready)
	}
}

// now is the time that figures are stamped with.
func now() time.Time { return time.Now() }

// await returns what is known, has it measured if it is old, and waits if nothing
// is. start is called with the lock held.
func (m *Meter) await(ctx context.Context, v Volume, start func(*known)) (Usage, error) {
	m.mu.Lock()
	k := m.known[v.Dir]
	if k == nil {
		m.sweep()
		k = &known{dir: v.Dir, ready: make(chan struct{})}
		m.known[v.Dir] = k
	}
	k.asked = now()
	if stale := !k.done || k.err != nil || k.asked.Sub(k.last.At) >= m.cfg.MaxAge; stale && !k.busy {
		k.busy = true
		start(k)
	}
	last, err, done := k.last, k.err, k.done
	m.mu.Unlock()
	if done {
		return last, err
	}
	select {
	case <-k.ready:
	case <-ctx.Done():
		return Usage{}, fmt.Errorf("measure %s: %w (%w)", v.Dir, ErrUnknown, context.Cause(ctx))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return k.last, k.err
}

// sweep drops what nobody has asked for in a while. The lock is held.
func (m *Meter) sweep() {
	for dir, k := range m.known {
		if !k.busy && now().Sub(k.asked) > forgotten {
			delete(m.known, dir)
		}
	}
}

// ask asks a file system, which may take for ever; nobody asks it again meanwhile.
func (m *Meter) ask(v Volume, k *known) {
	at := now()
	u, err := statfs(v.Dir)
	u.At = at
	m.publish(k, u, err)
}

// publish notes a measurement. One that is incomplete does not make a volume look
// smaller than it was: a pod could hide what it holds by moving it.
func (m *Meter) publish(k *known, u Usage, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil || !k.done || k.err != nil {
		if u.Incomplete {
			u.Used, u.InodesUsed = max(u.Used, k.last.Used), max(u.InodesUsed, k.last.InodesUsed)
		}
		k.last, k.err = u, err
	}
	if k.busy = false; !k.done {
		k.done = true
		close(k.ready)
	}
}

func (m *Meter) hint() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// turn is a walk and what waits for it.
type turn struct {
	*walk
	known *known
}

// Run walks what is asked for until ctx ends.
func (m *Meter) Run(ctx context.Context) {
	var turns []turn
	defer func() {
		for _, t := range turns {
			t.close()
		}
		m.abandon(turns)
	}()
	for {
		turns = m.admit(turns)
		if len(turns) == 0 {
			select {
			case <-m.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		began := now()
		t := turns[0]
		turns = append(turns[:0], turns[1:]...)
		if t.slice(m.cfg.Slice) {
			m.publish(t.known, t.result(), nil)
		} else {
			turns = append(turns, t)
		}
		pause := time.NewTimer(m.cfg.pause(now().Sub(began)))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}

// admit begins walks that wait, as far as there is room.
func (m *Meter) admit(turns []turn) []turn {
	for len(turns) < maxWalks {
		m.mu.Lock()
		if len(m.queue) == 0 {
			m.mu.Unlock()
			return turns
		}
		k := m.queue[0]
		m.queue = append(m.queue[:0], m.queue[1:]...)
		gone := k.gone
		m.mu.Unlock()
		if gone {
			continue
		}
		w, err := begin(k.dir, m.cfg.HardLinks)
		if err != nil {
			m.publish(k, Usage{}, err)
			continue
		}
		turns = append(turns, turn{walk: w, known: k})
	}
	return turns
}

// abandon lets a later Run begin anew what this one has not ended.
func (m *Meter) abandon(turns []turn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range turns {
		t.known.busy = false
	}
}
