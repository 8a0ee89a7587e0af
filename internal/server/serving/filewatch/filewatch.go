package filewatch

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// settle is the pause between the first sign of a change and the look at it: a
// certificate and its key are two files, and a file is written in several steps.
const settle = 100 * time.Millisecond

// maxPasses bounds how often watches are set again because the links moved
// meanwhile.
const maxPasses = 5

// Config says what to watch.
type Config struct {
	// Paths are the absolute names of files; none is fine.
	Paths []string
	// Every is the longest time between two checks; positive.
	Every time.Duration
	// Hints asks for a check at once; nil for none.
	Hints <-chan struct{}
}

// Run calls check at once, and then whenever something may have changed, until
// ctx ends. Calls do not overlap. It returns when all it started has ended. A
// kernel that gives no watches is logged and leaves Every.
func Run(ctx context.Context, cfg Config, check func(), log *zap.Logger) {
	w := &watcher{paths: cfg.Paths, log: log}
	defer w.close()
	tick := time.NewTicker(cfg.Every)
	defer tick.Stop()
	for {
		w.follow()
		check()
		if !w.wait(ctx, tick.C, cfg.Hints) {
			return
		}
	}
}

type watcher struct {
	paths []string
	names []string          // what decides where the paths lead
	dirs  []string          // where the names are; watched
	fs    *fsnotify.Watcher // nil when there is none
	told  string            // the last problem that was logged
	log   *zap.Logger
}

// wait returns true when it is time to check, false when ctx has ended.
func (w *watcher) wait(ctx context.Context, tick <-chan time.Time, hints <-chan struct{}) bool {
	var settled <-chan time.Time
	for {
		var events <-chan fsnotify.Event
		var failed <-chan error
		if w.fs != nil {
			events, failed = w.fs.Events, w.fs.Errors
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			return true
		case <-hints:
			return true
		case <-settled:
			return true
		case e := <-events:
			if w.concerns(e) && settled == nil {
				settled = time.After(settle)
			}
		case err := <-failed:
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				return true
			}
			w.problem("watching files", err)
			w.close() // the next check opens it again
		}
	}
}

// concerns reports whether an event is about a name of ours. A directory that
// has gone away is forgotten: its name may mean another one from now on.
func (w *watcher) concerns(e fsnotify.Event) bool {
	if slices.Contains(w.dirs, e.Name) {
		if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
			_ = w.fs.Remove(e.Name) // gone with the directory, mostly
		}
		return true
	}
	return slices.Contains(w.names, e.Name)
}

// follow sets the watches to where the paths lead now. Links that move while it
// does are seen: it looks again after each new watch.
func (w *watcher) follow() {
	if len(w.paths) == 0 {
		return
	}
	if w.fs == nil {
		fs, err := fsnotify.NewWatcher()
		if err != nil {
			w.problem("asking the kernel for a file watch (fs.inotify.max_user_instances)", err)
			return
		}
		w.fs = fs
	}
	for range maxPasses {
		w.names, w.dirs = nil, nil
		for _, p := range w.paths {
			for _, name := range chain(p) {
				w.names = append(w.names, name)
				w.dirs = append(w.dirs, filepath.Dir(name))
			}
		}
		slices.Sort(w.dirs)
		w.dirs = slices.Compact(w.dirs)
		if !w.watch() {
			return
		}
	}
}

// watch makes the directories the watched ones, and reports whether one is new.
func (w *watcher) watch() (added bool) {
	have := w.fs.WatchList()
	for _, dir := range have {
		if !slices.Contains(w.dirs, dir) {
			_ = w.fs.Remove(dir)
		}
	}
	for _, dir := range w.dirs {
		if slices.Contains(have, dir) {
			continue
		}
		if err := w.fs.Add(dir); err != nil {
			w.problem("watching "+dir+" (fs.inotify.max_user_watches)", err)
			continue
		}
		added = true
	}
	return added
}

// problem logs what keeps changes from being noticed at once, each text once.
func (w *watcher) problem(what string, err error) {
	if text := what + err.Error(); text != w.told {
		w.told = text
		w.log.Warn("changes of files are noticed late: "+what+" failed", zap.Error(err), zap.Strings("files", w.paths))
	}
}

func (w *watcher) close() {
	if w.fs != nil {
		_ = w.fs.Close()
		w.fs = nil
	}
}
