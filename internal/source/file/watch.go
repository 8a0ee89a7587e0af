package file

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

const (
	// quiet is how long nothing may happen before a scan; most writers need
	// several system calls for one file.
	quiet = 10 * time.Millisecond
	// patience bounds the wait for a quiet moment.
	patience = 100 * time.Millisecond
)

// watch turns inotify events into hints. Without inotify, which may be used up
// on a busy node, the rescans still find every change.
type watch struct {
	path    string
	log     *zap.Logger
	notify  *fsnotify.Watcher // nil when there is none
	hints   chan struct{}     // holds one: many events are one hint
	ended   chan struct{}
	failing bool
}

func newWatch(path string, log *zap.Logger) *watch {
	w := &watch{path: path, log: log, hints: make(chan struct{}, 1), ended: make(chan struct{})}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("no inotify for static pods: changes are only seen by rescans; raise fs.inotify.max_user_instances", zap.Error(err))
		close(w.ended)
		return w
	}
	w.notify = notify
	go w.forward()
	return w
}

// close ends the watch and waits for its goroutine.
func (w *watch) close() {
	if w.notify != nil {
		_ = w.notify.Close() // nothing is left to do if the kernel objects
	}
	<-w.ended
}

// forward reads events until the watcher is closed.
func (w *watch) forward() {
	defer close(w.ended)
	for {
		select {
		case e, open := <-w.notify.Events:
			if !open {
				return
			}
			if !w.concerns(e) {
				continue
			}
			w.forget(e)
		case err, open := <-w.notify.Errors:
			if !open {
				return
			}
			w.log.Debug("inotify for static pods", zap.Error(err)) // an overflow, say: scan
		}
		select {
		case w.hints <- struct{}{}:
		default:
		}
	}
}

// ensure watches the path and the nearest directory above it that exists. The
// latter tells of a path that is created, replaced or removed.
func (w *watch) ensure() {
	if w.notify == nil {
		return
	}
	var err error
	// Again after each: what is made between the look and the watch makes no event.
	for watched, above := "", w.nearest(); err == nil && above != watched; above = w.nearest() {
		watched, err = above, w.notify.Add(above)
	}
	if pathErr := w.notify.Add(w.path); pathErr != nil && !os.IsNotExist(pathErr) {
		err = pathErr
	}
	if err != nil && !w.failing {
		w.log.Warn("cannot watch for static pods: changes are only seen by rescans; check fs.inotify.max_user_watches",
			zap.String("path", w.path), zap.Error(err))
	}
	w.failing = err != nil
}

// nearest returns the nearest directory above the path that exists.
func (w *watch) nearest() string {
	above := filepath.Dir(w.path)
	for above != "/" {
		if info, err := os.Stat(above); err == nil && info.IsDir() {
			break
		}
		above = filepath.Dir(above)
	}
	return above
}

// settle waits for a quiet moment, at most for patience, so that a file that is
// being written is read once and whole.
func (w *watch) settle(ctx context.Context) {
	limit := time.After(patience)
	for {
		select {
		case <-w.hints:
		case <-time.After(quiet):
			return
		case <-limit:
			return
		case <-ctx.Done():
			return
		}
	}
}

// forget drops the watch of a path that was replaced, so that ensure watches
// what has its name now.
func (w *watch) forget(e fsnotify.Event) {
	if e.Name == w.path && e.Op&(fsnotify.Create|fsnotify.Remove|fsnotify.Rename) != 0 {
		_ = w.notify.Remove(w.path) // it may be gone already
	}
}

// concerns reports whether an event can change what a scan finds: one of the
// path, of something in it, or of a directory on the way to it.
func (w *watch) concerns(e fsnotify.Event) bool {
	return e.Name == w.path || filepath.Dir(e.Name) == w.path || strings.HasPrefix(w.path, e.Name+"/")
}
