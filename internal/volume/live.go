package volume

import (
	"context"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// maxUpdates bounds the pods whose volumes are updated at the same time, when
	// an object changes that many of them have.
	maxUpdates = 32
	// updateTimeout bounds one update of one pod.
	updateTimeout = time.Minute
	// The pauses after an update that failed grow as the kubelet's between attempts
	// at one volume.
	firstPause = 500 * time.Millisecond
	lastPause  = 2*time.Minute + 2*time.Second
)

// followers are the mounted volumes whose content follows something.
type followers struct {
	// wake holds one hint that there is something in stale.
	wake  chan struct{}
	slots chan struct{}

	mu    sync.Mutex
	pods  map[types.UID]*followedPod
	stale map[types.UID]struct{}
}

// followedPod is a pod that has such volumes.
type followedPod struct {
	pod     *corev1.Pod // the newest
	volumes map[string]*followed
	running bool
}

// followed is one such volume.
type followed struct {
	plugin   Live
	req      Request
	stale    bool
	timer    *time.Timer // makes it stale
	failures int
	said     string // what users were told last
}

func newFollowers() followers {
	return followers{
		wake: make(chan struct{}, 1), slots: make(chan struct{}, maxUpdates),
		pods: map[types.UID]*followedPod{}, stale: map[types.UID]struct{}{},
	}
}

// Run keeps the content of mounted volumes up to date until ctx ends, and returns
// nil once all updates have ended. It is to be called once.
func (m *Manager) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		for uid := range m.live.take() {
			running.Go(func() { m.update(ctx, uid) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.live.wake:
		}
	}
}

// Changed says that something the pods refer to has changed.
func (m *Manager) Changed(uids []types.UID) {
	for _, uid := range uids {
		m.live.mark(uid, "")
	}
}

// Follow says what a pod has become. What does not show in volumes is passed over.
func (m *Manager) Follow(p *corev1.Pod) {
	m.live.mu.Lock()
	known := m.live.pods[p.UID]
	same := known == nil || sameSpec(known.pod, p) &&
		maps.Equal(known.pod.Labels, p.Labels) && maps.Equal(known.pod.Annotations, p.Annotations)
	if known != nil {
		known.pod = p
	}
	m.live.mu.Unlock()
	if !same {
		m.live.mark(p.UID, "")
	}
}

// sameSpec reports whether a pod's spec is what it was. To mark an object for deletion
// makes a generation of its own.
func sameSpec(was, is *corev1.Pod) bool {
	generation := was.Generation
	if was.DeletionTimestamp == nil && is.DeletionTimestamp != nil && generation > 0 {
		generation++
	}
	return generation == is.Generation
}

// follow notes that a volume has been mounted, and is to be updated at due.
func (m *Manager) follow(plugin Live, req Request, due time.Time) {
	l := &m.live
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.pods[req.Pod.UID]
	if known == nil {
		known = &followedPod{pod: req.Pod, volumes: map[string]*followed{}}
		l.pods[req.Pod.UID] = known
	}
	if before := known.volumes[req.Volume.Name]; before != nil {
		before.rest()
	}
	f := &followed{plugin: plugin, req: req}
	known.volumes[req.Volume.Name] = f
	if !due.IsZero() {
		l.wakeAt(f, due)
	}
}

// forget ends what follow began, for all volumes of a pod.
func (l *followers) forget(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.pods[uid]; known != nil {
		for _, f := range known.volumes {
			f.rest()
		}
	}
	delete(l.pods, uid)
	delete(l.stale, uid)
}

func (f *followed) rest() {
	if f.timer != nil {
		f.timer.Stop()
	}
}

// wakeAt makes a volume stale at a time. The caller holds the lock.
func (l *followers) wakeAt(f *followed, at time.Time) {
	f.rest()
	uid, name := f.req.Pod.UID, f.req.Volume.Name
	f.timer = time.AfterFunc(time.Until(at), func() { l.mark(uid, name) })
}

// mark makes a volume of a pod stale, or all of them.
func (l *followers) mark(uid types.UID, volume string) {
	l.mu.Lock()
	known := l.pods[uid]
	if known != nil {
		for name, f := range known.volumes {
			f.stale = f.stale || volume == "" || name == volume
		}
		l.stale[uid] = struct{}{}
	}
	l.mu.Unlock()
	if known != nil {
		l.hint()
	}
}

func (l *followers) hint() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take returns the pods that have stale volumes and nobody who updates them.
func (l *followers) take() map[types.UID]struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := map[types.UID]struct{}{}
	for uid := range l.stale {
		if known := l.pods[uid]; known != nil && !known.running {
			known.running = true
			taken[uid] = struct{}{}
			delete(l.stale, uid)
		}
	}
	return taken
}

// takeVolumes returns the stale volumes of a pod, and the pod as it is now.
func (l *followers) takeVolumes(uid types.UID) []*followed {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.pods[uid]
	if known == nil {
		return nil
	}
	var taken []*followed
	for _, f := range known.volumes {
		if f.stale {
			f.stale, f.req.Pod = false, known.pod
			taken = append(taken, f)
		}
	}
	return taken
}

// update brings the stale volumes of a pod up to date, unless something else is
// done for the pod: its end is waited for.
func (m *Manager) update(ctx context.Context, uid types.UID) {
	l := &m.live
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	bounded, cancel := context.WithTimeout(ctx, updateTimeout)
	busy, err := m.jobs.try(bounded, uid, "updating the volumes", func(ctx context.Context) error {
		for _, f := range l.takeVolumes(uid) {
			m.updateOne(ctx, f)
		}
		return nil
	})
	cancel()
	<-l.slots
	if err != nil && !busy && ctx.Err() == nil {
		m.log.Warn("the update of a pod's volumes does not end", zap.String("uid", string(uid)), zap.Error(err))
	}
	if l.updated(uid, busy) && m.jobs.current(uid) == nil {
		l.hint()
	}
}

// updated notes that nobody updates the pod's volumes any more, and reports
// whether somebody should.
func (l *followers) updated(uid types.UID, busy bool) (again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.pods[uid]
	if known == nil {
		return false
	}
	known.running = false
	if busy {
		l.stale[uid] = struct{}{}
	}
	_, again = l.stale[uid]
	return again
}

func (m *Manager) updateOne(ctx context.Context, f *followed) {
	step := m.steps.begin(f.req.Pod.UID, f.req.Volume.Name)
	step.is("updating it (" + f.plugin.Name() + ")")
	defer step.end()
	var due time.Time
	err := m.jobs.shielded(ctx, f.req.Pod.UID, func(ctx context.Context) (err error) {
		due, err = f.plugin.Update(ctx, f.req)
		return err
	})
	l := &m.live
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.pods[f.req.Pod.UID]; known == nil || known.volumes[f.req.Volume.Name] != f {
		return // unmounted, or mounted again, in the meantime
	}
	if err == nil {
		f.failures, f.said = 0, ""
		if !due.IsZero() {
			l.wakeAt(f, due)
		}
		return
	}
	l.wakeAt(f, time.Now().Add(min(firstPause<<min(f.failures, 16), lastPause)))
	f.failures++
	if text := setUpFailed(f.req.Name(), err).Error(); text != f.said {
		f.said = text
		f.req.Tell(true, ReasonFailedMount, text)
	}
}
