package allocation

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/checkpoint"
)

// writeDelay is how long entries that need not survive a crash wait for others,
// so that many pods that start at once are written once.
const writeDelay = 100 * time.Millisecond

// record is what is noted of one pod. The names are the kubelet's.
type record struct {
	ContainerResources   map[string]corev1.ResourceRequirements
	PodLevelResources    *corev1.ResourceRequirements
	EmptyDirVolumeLimits map[string]*resource.Quantity
}

type content struct {
	Entries map[types.UID]record `json:"entries,omitempty"`
}

// ledger is one file of records. It is safe for concurrent use.
type ledger struct {
	path string
	log  *zap.Logger

	mu      sync.Mutex
	entries map[types.UID]record
	dirty   bool
	timer   *time.Timer
}

// openLedger reads a file. One that is damaged is an error: what it said of
// resizes under way would be lost.
func openLedger(dir, name string, log *zap.Logger) (*ledger, error) {
	l := &ledger{path: filepath.Join(dir, name), log: log, entries: map[types.UID]record{}}
	var c content
	if err := checkpoint.Read(l.path, &c); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; drain this node and delete the file", err)
	}
	if c.Entries != nil {
		l.entries = c.Entries
	}
	return l, nil
}

func (l *ledger) get(uid types.UID) (record, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.entries[uid]
	return r, ok
}

// put notes a record; with now it is on the disk when put returns.
func (l *ledger) put(uid types.UID, r record, now bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[uid] = r
	l.changed(now)
}

func (l *ledger) drop(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.entries[uid]; ok {
		delete(l.entries, uid)
		l.changed(false)
	}
}

// pods lists who has a record.
func (l *ledger) pods() []types.UID {
	l.mu.Lock()
	defer l.mu.Unlock()
	uids := make([]types.UID, 0, len(l.entries))
	for uid := range l.entries {
		uids = append(uids, uid)
	}
	return uids
}

func (l *ledger) changed(now bool) {
	l.dirty = true
	if now {
		l.write()
		return
	}
	if l.timer == nil {
		l.timer = time.AfterFunc(writeDelay, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.timer = nil
			l.write()
		})
	}
}

func (l *ledger) write() {
	if !l.dirty {
		return
	}
	if err := checkpoint.Write(l.path, content{Entries: l.entries}); err != nil {
		l.log.Error("cannot write down the resources of pods; a resize may be forgotten when the agent restarts", zap.Error(err))
		return
	}
	l.dirty = false
}

// close writes what is not written yet.
func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.write()
}
