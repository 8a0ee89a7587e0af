package lifecycle

import (
	"context"
	"maps"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// orphanGrace is what a pod gets that is in the runtime but that nobody wants
// and nobody can describe any more (as the kubelet gives it).
const orphanGrace = time.Second

// panicPause is how long a worker that panicked rests before it is rebuilt.
const panicPause = 5 * time.Second

// Deps is everything workers need of the rest of the agent.
type Deps struct {
	Observer   Observer
	Sandboxes  Sandboxes
	Containers Containers
	Handlers   Handlers
	Probes     Probes
	Givens     Givens
	Images     Images
	OnNode
	Allocations Allocations
	Resizer     Resizer
	Status      StatusSink
	Events      Recorder
	Hooks       Hooks
	// Tracer, if set, is told how the time of a pod's start is spent.
	Tracer trace.Tracer
	// Node returns what is known of the node now; it must be cheap.
	Node func() pod.Node
	Log  *zap.Logger
}

// equipment is what workers use: deps, but for sandboxes, of which few are removed at a
// time.
type equipment struct {
	Deps
	Sandboxes *unhurried
}

// OnNode is what pods have on the node beside the runtime.
type OnNode struct {
	Volumes Volumes
	Cgroups Cgroups
	Logs    Logs
	// Leftovers names the pods that have something on the node's disk. It is
	// asked once, when the sources and the runtime have been seen; nil: none.
	Leftovers func() []pod.Ref
}

// Supervisor owns the workers. All its state belongs to the goroutine of Run.
type Supervisor struct {
	deps    *equipment
	workers map[types.UID]*entry
	// finished are pods of which nothing is left here while their source still
	// names them; they are not started again.
	finished map[types.UID]bool
	desired  pod.Desired
	// wanted are the UIDs of desired.
	wanted map[types.UID]bool
	listed []pod.Listing
	// searched: the disk was looked at for what an earlier agent left behind.
	searched bool
	// undecided: some pod waits for what others leave, or for the node to be known.
	undecided bool
	ended     chan types.UID
	pings     chan struct{}
	wg        sync.WaitGroup
	readers   atomic.Pointer[map[types.UID]*worker]
}

// entry is a worker and what it was told last. asked is the pod as its source has
// it, spec the same with the resources that it has been allocated.
type entry struct {
	*worker
	asked  pod.Spec
	spec   pod.Spec
	resize pod.Resize
	stop   *pod.Stop
	gone   bool
	// refused: the node does not take the pod, so that it has nothing here.
	refused bool
}

// Inputs are the streams a supervisor follows. Closing none of them ends it.
type Inputs struct {
	Desired  <-chan pod.Desired
	Hints    <-chan pod.Hint
	Listings <-chan []pod.Listing
	// NodeChanged asks every worker to look again: the network became ready.
	NodeChanged <-chan struct{}
}

// NewSupervisor returns a supervisor that has no pods yet.
func NewSupervisor(deps Deps) *Supervisor {
	s := &Supervisor{
		deps:     &equipment{deps, newUnhurried(deps.Sandboxes)},
		workers:  map[types.UID]*entry{},
		finished: map[types.UID]bool{},
		ended:    make(chan types.UID),
		pings:    make(chan struct{}),
	}
	s.readers.Store(&map[types.UID]*worker{})
	return s
}

// Run drives pods until ctx ends, then waits for every worker. Pods go on
// running: ending the agent is not ending its pods.
func (s *Supervisor) Run(ctx context.Context, in Inputs) error {
	defer s.wait()
	for {
		var retry <-chan time.Time
		if s.undecided {
			retry = time.After(admitAgain)
		}
		select {
		case <-ctx.Done():
			return nil
		case d := <-in.Desired:
			s.desire(d)
			s.reconcile(ctx)
		case l := <-in.Listings:
			s.listed = l
			s.orphans(ctx)
		case h := <-in.Hints:
			if e := s.workers[h.UID]; e != nil {
				e.look(h)
			}
		case <-in.NodeChanged:
			for _, e := range s.workers {
				e.hint(pod.Hint{Why: "the node changed"})
			}
			s.reconcile(ctx)
		case <-retry:
			s.reconcile(ctx)
		case <-s.pings:
		case uid := <-s.ended:
			s.retire(uid)
			s.reconcile(ctx)
		}
	}
}

// Views returns a snapshot of every pod, in no order.
func (s *Supervisor) Views() []*pod.View {
	workers := *s.readers.Load()
	views := make([]*pod.View, 0, len(workers))
	for _, w := range workers {
		if v := w.view.Load(); v != nil {
			views = append(views, v)
		}
	}
	return views
}

// View returns the snapshot of one pod, or nil.
func (s *Supervisor) View(uid types.UID) *pod.View {
	if w := (*s.readers.Load())[uid]; w != nil {
		return w.view.Load()
	}
	return nil
}

// Nudge says that a probe of a pod has come to another verdict. It waits for nobody, and
// for none of the other pods.
func (s *Supervisor) Nudge(uid types.UID) {
	if w := (*s.readers.Load())[uid]; w != nil {
		w.nudge()
	}
}

// desire replaces what is desired.
func (s *Supervisor) desire(d pod.Desired) {
	s.desired, s.wanted = d, make(map[types.UID]bool, len(d.Specs))
	for _, spec := range d.Specs {
		s.wanted[spec.Pod.UID] = true
	}
}

// reconcile makes the workers follow what is desired.
func (s *Supervisor) reconcile(ctx context.Context) {
	now := time.Now()
	var fresh []pod.Spec
	for _, spec := range s.desired.Specs {
		uid := spec.Pod.UID
		e := s.workers[uid]
		switch {
		case e != nil && e.asked == spec:
		case e != nil:
			e.stop = e.stop.Merge(deletion(spec.Pod, now, false))
			s.update(e, spec)
			e.assign(assignment{spec: e.spec, resize: e.resize, stop: e.stop})
		case s.finished[uid] || s.nameTaken(spec):
		default:
			fresh = append(fresh, spec)
		}
	}
	s.undecided = false
	s.admit(ctx, fresh, now)
	s.retryResizes()
	maps.DeleteFunc(s.finished, func(uid types.UID, _ bool) bool { return !s.wanted[uid] })
	if !s.desired.Synced {
		return
	}
	for uid, e := range s.workers {
		if s.wanted[uid] || e.gone {
			continue
		}
		e.gone = true
		e.stop = e.stop.Merge(&pod.Stop{Deadline: now.Add(remainingGrace(e.spec.Pod)), Delete: true})
		e.assign(assignment{spec: e.spec, stop: e.stop, gone: true})
	}
	s.orphans(ctx)
}

// orphans ends pods that are on the node but that nobody wants. Before every
// source has been seen nobody is unwanted.
func (s *Supervisor) orphans(ctx context.Context) {
	if !s.desired.Synced || s.listed == nil {
		return
	}
	refs := make([]pod.Ref, 0, len(s.listed))
	for _, l := range s.listed {
		refs = append(refs, l.Ref)
	}
	if !s.searched {
		s.deps.Allocations.Retain(func(uid types.UID) bool { return s.wanted[uid] || s.workers[uid] != nil })
	}
	if s.deps.Leftovers != nil && !s.searched {
		refs = append(refs, s.deps.Leftovers()...)
	}
	s.searched = true
	for _, ref := range refs {
		uid := ref.UID
		if uid == "" || s.wanted[uid] || s.workers[uid] != nil {
			continue
		}
		stop := &pod.Stop{Deadline: time.Now().Add(orphanGrace), Delete: true}
		s.launch(ctx, ref, assignment{stop: stop, gone: true})
	}
	s.listed = nil
}

// nameTaken reports whether a static pod has to wait for an earlier one of its
// name: only one of them may run at a time.
func (s *Supervisor) nameTaken(spec pod.Spec) bool {
	if !spec.Static() {
		return false
	}
	name := pod.RefOf(spec.Pod).FullName()
	for uid, e := range s.workers {
		if uid != spec.Pod.UID && e.ref.FullName() == name {
			return true
		}
	}
	return false
}

// launch starts a worker.
func (s *Supervisor) launch(ctx context.Context, ref pod.Ref, a assignment) {
	w := newWorker(ref, s.deps, a)
	s.workers[ref.UID] = &entry{worker: w, asked: a.asked, spec: a.spec, resize: a.resize, stop: a.stop, gone: a.gone, refused: a.stop != nil && a.stop.Refused}
	s.publish()
	if h := s.deps.Hooks.Launched; h != nil {
		h(a.spec.Pod, refusal(a.stop))
	}
	s.wg.Go(func() {
		for !s.attend(ctx, w) {
			if !pause(ctx, panicPause) {
				return
			}
		}
		s.tellEnd(ctx, ref.UID)
	})
}

// tellEnd tells the loop that a worker has ended.
func (s *Supervisor) tellEnd(ctx context.Context, uid types.UID) {
	select {
	case s.ended <- uid:
	case <-ctx.Done():
	}
}

// pause waits; false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// attend runs the worker; false when it panicked and has to be rebuilt, which
// costs nothing but a look at the runtime.
func (s *Supervisor) attend(ctx context.Context, w *worker) (ended bool) {
	defer func() {
		if p := recover(); p != nil {
			w.log().Error("the pod's worker panicked and is rebuilt; please report this",
				zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			if h := s.deps.Hooks.Panic; h != nil {
				h()
			}
		}
	}()
	w.run(ctx)
	return true
}

// retire forgets a worker that has ended.
func (s *Supervisor) retire(uid types.UID) {
	e := s.workers[uid]
	delete(s.workers, uid)
	s.deps.Allocations.Forget(uid)
	if h := s.deps.Hooks.Retired; h != nil {
		h(uid)
	}
	if e != nil && !e.gone {
		s.finished[uid] = true
	}
	s.publish()
	if e != nil {
		e.supersede() // its goroutine has ended
	}
	if h := s.deps.Hooks.Viewed; h != nil {
		h(uid)
	}
}

// publish lets readers see the set of workers.
func (s *Supervisor) publish() {
	m := make(map[types.UID]*worker, len(s.workers))
	for uid, e := range s.workers {
		m[uid] = e.worker
	}
	s.readers.Store(&m)
}

// refusal is the reason of a stop with which a pod is not taken; empty: it is.
func refusal(stop *pod.Stop) string {
	if stop == nil || !stop.Refused {
		return ""
	}
	return stop.Reason
}

// wait lets every worker end.
func (s *Supervisor) wait() { s.wg.Wait() }

// deletion is the stop that follows from a pod's deletion, or nil. A deletion
// that was asked for before this agent started keeps its deadline, which the
// API server wrote into the object; the grace never grows by a restart.
func deletion(p *corev1.Pod, now time.Time, first bool) *pod.Stop {
	if p.DeletionTimestamp == nil {
		return nil
	}
	deadline := now.Add(remainingGrace(p))
	if first && p.DeletionTimestamp.Time.Before(deadline) {
		deadline = p.DeletionTimestamp.Time
	}
	return &pod.Stop{Deadline: deadline, Delete: true}
}

// remainingGrace is what the API server, or else the spec, grants.
func remainingGrace(p *corev1.Pod) time.Duration {
	if p != nil && p.DeletionGracePeriodSeconds != nil {
		return time.Duration(max(*p.DeletionGracePeriodSeconds, 1)) * time.Second
	}
	return pod.Grace(p)
}

// hashes returns the hash of each container of a spec, as the runtime's
// annotations have it.
func hashes(p *corev1.Pod) map[string]string {
	m := make(map[string]string, len(p.Spec.Containers))
	for _, c := range pod.Containers(p) {
		m[c.Name] = containerspec.Hash(c)
	}
	return m
}
