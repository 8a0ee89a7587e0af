package podsapi

import (
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"
)

// watchers are those who want to hear of changes.
type watchers struct {
	some atomic.Bool // there are any: Changed is called often
	mu   sync.Mutex
	all  map[*watcher]bool
}

// watcher remembers the pods that it has to look at.
type watcher struct {
	mu    sync.Mutex
	dirty map[types.UID]bool
	// told has an element when dirty has.
	told chan struct{}
}

// join adds a watcher, or returns nil when there are too many.
func (w *watchers) join(limit int) *watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.all) >= limit {
		return nil
	}
	one := &watcher{dirty: map[types.UID]bool{}, told: make(chan struct{}, 1)}
	if w.all == nil {
		w.all = map[*watcher]bool{}
	}
	w.all[one] = true
	w.some.Store(true)
	return one
}

// leave removes a watcher.
func (w *watchers) leave(one *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, one)
	w.some.Store(len(w.all) > 0)
}

// tell lets all watchers look at a pod. It never waits for one.
func (w *watchers) tell(uid types.UID) {
	if !w.some.Load() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.all {
		one.mark(uid)
	}
}

func (w *watcher) mark(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dirty[uid] = true
	select {
	case w.told <- struct{}{}:
	default:
	}
}

// take returns the pods to look at, sorted, and forgets them.
func (w *watcher) take() []types.UID {
	w.mu.Lock()
	defer w.mu.Unlock()
	uids := make([]types.UID, 0, len(w.dirty))
	for uid := range w.dirty {
		uids = append(uids, uid)
	}
	clear(w.dirty)
	slices.Sort(uids)
	return uids
}
