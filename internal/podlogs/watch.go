package podlogs

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// errNobodyWatches tells a follower to look, and to ask again.
var errNobodyWatches = errors.New("log directories are not watched at the moment")

// errMoved tells a follower that only looking helps: its directory is not at its
// path any more.
var errMoved = errors.New("the log directory was moved or removed")

// batchTime is the time in which at most batchSize events are passed on. Each write is an
// event, and who logs as fast as it can makes 100,000 of them a second; while nobody
// asks for them the kernel makes one of those that follow each other for one file.
const (
	batchTime = 5 * time.Millisecond
	batchSize = 32
)

// reopenAfter is how long to wait before another inotify instance is asked for.
const reopenAfter = 10 * time.Second

// watcher lets one inotify instance wake up all followers. A directory has one
// watch however many follow logs in it.
//
// Two goroutines of run share the work: keep adds and removes watches, fanOut
// passes events on. fanOut waits for nobody, neither for a follower nor for keep.
type watcher struct {
	log      *zap.Logger
	requests chan request
	// What may fail for lack of resources; tests replace them.
	open func() (*fsnotify.Watcher, error)
	add  func(*fsnotify.Watcher, string) error

	mu   sync.Mutex
	dirs map[string]*watched // by path
}

// watched is a directory with followers. The lock of its watcher guards it.
type watched struct {
	id   fileID
	lost chan struct{} // closed when no event will come any more
	subs map[*subscription]struct{}
}

// subscription is a follower's share of a watch.
type subscription struct {
	path string
	dir  *watched
	wake chan struct{} // has one element after any number of events
	call func()        // is called in place of wake when it is set; does not wait
}

func (s *subscription) isLost() bool {
	if s == nil {
		return false
	}
	select {
	case <-s.dir.lost:
		return true
	default:
		return false
	}
}

// request asks keep for a watch, or to end one.
type request struct {
	end   *subscription
	path  string
	id    fileID
	call  func()
	reply chan<- reply
}

type reply struct {
	sub *subscription
	err error
}

func newWatcher(log *zap.Logger) *watcher {
	return &watcher{
		log:      log,
		requests: make(chan request),
		open:     fsnotify.NewWatcher,
		add:      (*fsnotify.Watcher).Add,
		dirs:     make(map[string]*watched),
	}
}

// subscribe asks for a watch of the directory. While nobody is there to answer it
// waits as long as a follower does between two looks.
func (w *watcher) subscribe(ctx context.Context, dir *logDir, again <-chan struct{}) (*subscription, error) {
	return w.ask(ctx, request{path: dir.path, id: dir.id}, again)
}

func (w *watcher) ask(ctx context.Context, req request, again <-chan struct{}) (*subscription, error) {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	answer := make(chan reply, 1)
	req.reply = answer
	select {
	case w.requests <- req:
		r := <-answer
		return r.sub, r.err
	case <-timer.C:
	case <-again:
	case <-ctx.Done():
	}
	return nil, errNobodyWatches
}

// unsubscribe ends a watch with its last follower.
func (w *watcher) unsubscribe(sub *subscription) {
	if sub == nil {
		return
	}
	select {
	case w.requests <- request{end: sub}:
	case <-sub.dir.lost:
	}
}

// run serves followers until ctx ends.
func (w *watcher) run(ctx context.Context) error {
	k := keeper{watcher: w}
	defer k.close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case req := <-w.requests:
			if req.end != nil {
				k.release(req.end)
				continue
			}
			sub, err := k.watch(req)
			req.reply <- reply{sub, err}
		}
	}
}

// keeper is what one run owns: the inotify instance, made when it is first needed.
type keeper struct {
	*watcher
	fs      *fsnotify.Watcher
	events  sync.WaitGroup
	err     error // why there is no instance
	retryAt time.Time
	warned  bool
}

// watch gives a follower its share of the directory's watch. The share exists
// before the watch does: no event is lost between.
func (k *keeper) watch(req request) (*subscription, error) {
	path, id := req.path, req.id
	if err := k.ensure(); err != nil {
		k.warn(err)
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || idOf(&st) != id {
		return nil, errMoved
	}
	k.mu.Lock()
	dir := k.dirs[path]
	if dir != nil && dir.id != id {
		k.forget(path) // the same path, made again
		dir = nil
	}
	known := dir != nil
	if !known {
		dir = &watched{id: id, lost: make(chan struct{}), subs: make(map[*subscription]struct{})}
		k.dirs[path] = dir
	}
	sub := &subscription{path: path, dir: dir, wake: make(chan struct{}, 1), call: req.call}
	dir.subs[sub] = struct{}{}
	k.mu.Unlock()
	if known {
		return sub, nil
	}
	_ = k.fs.Remove(path) // of a directory that had this path before; mostly there is none
	if err := k.add(k.fs, path); err != nil {
		k.release(sub)
		k.warn(err)
		return nil, err
	}
	return sub, nil
}

// release takes a follower's share back, and the watch with the last one.
func (k *keeper) release(sub *subscription) {
	k.mu.Lock()
	delete(sub.dir.subs, sub)
	last := len(sub.dir.subs) == 0 && k.dirs[sub.path] == sub.dir
	if last {
		k.forget(sub.path)
	}
	k.mu.Unlock()
	if last {
		_ = k.fs.Remove(sub.path) // gone with the directory is fine
	}
}

func (k *keeper) ensure() error {
	if k.fs != nil {
		return nil
	}
	if k.err != nil && time.Now().Before(k.retryAt) {
		return k.err
	}
	k.fs, k.err = k.open()
	if k.err != nil {
		k.fs, k.retryAt = nil, time.Now().Add(reopenAfter)
		return k.err
	}
	k.events.Go(func() { k.fanOut(k.fs) })
	return nil
}

func (k *keeper) warn(err error) {
	if k.warned || errors.Is(err, fs.ErrNotExist) {
		return
	}
	k.warned = true
	k.log.Warn("log directories cannot be watched; who follows a log looks once a second instead, and logs are rotated up to containerLogMonitorInterval late. "+
		"Raise the sysctls fs.inotify.max_user_instances and fs.inotify.max_user_watches, or the limit of open files",
		zap.Error(err))
}

func (k *keeper) close() {
	if k.fs != nil {
		if err := k.fs.Close(); err != nil {
			k.log.Warn("close the watcher of log directories", zap.Error(err))
		}
	}
	k.events.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	for path := range k.dirs {
		k.forget(path)
	}
}

// fanOut wakes followers until the instance is closed.
func (w *watcher) fanOut(from *fsnotify.Watcher) {
	events, errs := from.Events, from.Errors
	began, n := time.Now(), 0
	for events != nil || errs != nil {
		if n == batchSize {
			time.Sleep(batchTime - time.Since(began))
		}
		if time.Since(began) >= batchTime {
			began, n = time.Now(), 0
		}
		select {
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			w.event(e)
			n++
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			// Mostly that the queue was full. Whatever it is: events may be missing.
			w.log.Debug("events of log directories were lost, all followers look", zap.Error(err))
			w.wakeAll()
		}
	}
}

func (w *watcher) event(e fsnotify.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if dir := w.dirs[e.Name]; dir != nil { // it happened to the directory itself
		dir.wakeUp()
		if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
			w.forget(e.Name)
		}
		return
	}
	if dir := w.dirs[filepath.Dir(e.Name)]; dir != nil {
		dir.wakeUp()
	}
}

func (w *watcher) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, dir := range w.dirs {
		dir.wakeUp()
	}
}

// forget is called with the lock held.
func (w *watcher) forget(path string) {
	dir := w.dirs[path]
	close(dir.lost)
	delete(w.dirs, path)
	for sub := range dir.subs {
		if sub.call != nil {
			sub.call()
		}
	}
}

// wakeUp is called with the watcher's lock held.
func (d *watched) wakeUp() {
	for sub := range d.subs {
		if sub.call != nil {
			sub.call()
			continue
		}
		select {
		case sub.wake <- struct{}{}:
		default:
		}
	}
}
