package rotate

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
	"k8s.io/apimachinery/pkg/types"
)

// Config says when logs are rotated and what is kept. The names are those of
// KubeletConfiguration, with containerLog before them.
type Config struct {
	// PodsDir is where the logs of pods are, absolute.
	PodsDir string
	// MaxSize is the size at which a log is rotated, in bytes; negative: never.
	MaxSize int64
	// MaxFiles is how many files a log may have, itself included; at least two.
	MaxFiles int
	// Workers is how many rotated files are compressed at once.
	Workers int
	// MonitorInterval is the time between two looks at a log that cannot be watched.
	MonitorInterval time.Duration
}

// Runtime is what is asked of the container runtime.
type Runtime interface {
	// LogPath is the absolute path of a container's log.
	LogPath(ctx context.Context, id string) (string, error)
	// ReopenContainerLog lets a running container write to a new file at that path.
	ReopenContainerLog(ctx context.Context, id string) error
}

// Readers are those who read logs.
type Readers interface {
	// Once calls wake once, after something was written to the log at path, or when
	// no more can be known of that. wake must not wait.
	Once(ctx context.Context, path string, wake func()) (cancel func(), err error)
	// Unlink calls remove, which removes a rotated file. Who has not read it keeps it
	// readable.
	Unlink(path string, f Removal) error
	// Behind says whether somebody has yet to come to the file that was rotated at a
	// time, as in its name.
	Behind(path, at string) bool
	// Held is the sum of the files of a log that have no name any more and are held
	// for being read, in bytes.
	Held(path string) int64
	// Cut lets go of the oldest of them, until they are fewer by so many bytes. Who
	// still wants to read those gets an error.
	Cut(path string, bytes int64)
}

// Removal is a rotated file that is about to go.
type Removal struct {
	At         string // the time in its name
	Compressed bool
	Open       func() (*os.File, error)
	Remove     func() error
}

// Deps is what the rotator works with.
type Deps struct {
	Runtime Runtime
	Readers Readers
	Log     *zap.Logger
}

// asksAtOnce is how many logs are renamed and reopened at the same time. It takes
// the runtime's time rather than ours.
const asksAtOnce = 16

// Rotator rotates the logs of the containers that it was told to run.
type Rotator struct {
	cfg    Config
	deps   Deps
	spell  time.Duration
	asks   *semaphore.Weighted
	packs  *semaphore.Weighted
	signal chan struct{}
	at     func(step string) // tests end the world here

	mu    sync.Mutex
	pods  map[types.UID][]*log
	woken []*log
}

// log is the log of a running container.
type log struct {
	id    string // of the container
	timer *time.Timer

	// The rotator's lock guards these.
	state state
	again bool // somebody called while it was attended to
	heard bool // something was written
	over  bool // the container does not run any more
	packs bool // rotated files are being compressed
	// repack says that this has to be done again.
	repack bool

	// names is held while files of the log get or lose names. busy is the name of
	// the one that is being compressed.
	names sync.Mutex
	busy  string

	seen seen // only who attends to the log knows
}

// state says what happens with a log.
type state uint8

const (
	resting  state = iota
	queued         // somebody has to attend to it
	attended       // somebody does
)

// New returns a rotator. Nothing happens before Run.
func New(cfg Config, deps Deps) (*Rotator, error) {
	switch {
	case !filepath.IsAbs(cfg.PodsDir):
		return nil, fmt.Errorf("log directory %q is not an absolute path", cfg.PodsDir)
	case cfg.MaxSize == 0 || cfg.MaxFiles < 2 || cfg.Workers < 1 || cfg.MonitorInterval <= 0:
		return nil, fmt.Errorf("logs cannot be rotated at %d bytes, with %d files, %d workers and an interval of %s: "+
			"correct containerLogMaxSize, containerLogMaxFiles (at least 2), containerLogMaxWorkers and containerLogMonitorInterval",
			cfg.MaxSize, cfg.MaxFiles, cfg.Workers, cfg.MonitorInterval)
	}
	cfg.PodsDir = filepath.Clean(cfg.PodsDir)
	return &Rotator{
		cfg: cfg, deps: deps, spell: spell(cfg.MaxSize, cfg.MaxFiles, cfg.MonitorInterval),
		asks: semaphore.NewWeighted(asksAtOnce), packs: semaphore.NewWeighted(int64(cfg.Workers)),
		signal: make(chan struct{}, 1), at: func(string) {}, pods: make(map[types.UID][]*log),
	}, nil
}

// Follow says which containers of a pod run: all of them, by the runtime's ID. It
// does not wait, and may be called before Run.
func (r *Rotator) Follow(uid types.UID, running []string) {
	if r.cfg.MaxSize < 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.pods[uid]
	if len(old) == 0 && len(running) == 0 {
		return
	}
	logs := make([]*log, 0, len(running))
	for _, l := range old {
		if slices.Contains(running, l.id) {
			logs = append(logs, l)
		} else {
			l.over = true
			r.call(l)
		}
	}
	for _, id := range running {
		if !slices.ContainsFunc(logs, func(l *log) bool { return l.id == id }) {
			l := &log{id: id}
			logs = append(logs, l)
			r.call(l)
		}
	}
	r.pods[uid] = logs
	if len(logs) == 0 {
		delete(r.pods, uid)
	}
}

// call lets somebody attend to a log soon. The lock is held.
func (r *Rotator) call(l *log) {
	switch l.state {
	case queued:
		return
	case attended:
		l.again = true
		return
	case resting:
	}
	l.state = queued
	r.woken = append(r.woken, l)
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

// hear is what a watch calls.
func (r *Rotator) hear(l *log) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.heard = true
	r.call(l)
}

// callIn calls after a pause.
func (r *Rotator) callIn(l *log, pause time.Duration) {
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer = time.AfterFunc(pause, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.call(l)
	})
}

// Run rotates logs until ctx ends. Before, it puts right what was cut off when no
// agent ran.
func (r *Rotator) Run(ctx context.Context) error {
	if r.cfg.MaxSize < 0 {
		<-ctx.Done()
		return nil
	}
	r.restore(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.signal:
		}
		r.mu.Lock()
		woken := r.woken
		r.woken = nil
		for _, l := range woken {
			l.state = attended
		}
		r.mu.Unlock()
		for _, l := range woken {
			work.Go(func() { r.attend(ctx, &work, l) })
		}
	}
}

// attend does for a log what is due.
func (r *Rotator) attend(ctx context.Context, work *sync.WaitGroup, l *log) {
	for {
		r.mu.Lock()
		heard, over := l.heard, l.over
		l.heard, l.again = false, false
		r.mu.Unlock()
		if ctx.Err() == nil {
			r.turn(ctx, work, l, heard, over)
		}
		r.mu.Lock()
		if !l.again || ctx.Err() != nil {
			l.state = resting
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
	}
}
