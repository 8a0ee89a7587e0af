package lifecycle

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// observeTimeout bounds one look at one pod. A runtime that hangs longer than
// this is retried; the node's health notices it on its own.
const observeTimeout = 30 * time.Second

const (
	observeRetryMin = 500 * time.Millisecond
	observeRetryMax = 5 * time.Second
)

// assignment is what the supervisor wants of a worker.
type assignment struct {
	// spec is the pod as it is to be run: with the resources it has been allocated.
	// asked is the pod as its source has it.
	spec   pod.Spec
	asked  pod.Spec
	resize pod.Resize
	stop   *pod.Stop
	// gone: the pod's object no longer exists; there is nobody to report to.
	gone bool
}

// worker drives one pod. Its goroutine owns state; mailbox and hints are how
// the supervisor reaches it, view is how readers do.
type worker struct {
	ref     pod.Ref
	deps    *equipment
	mailbox chan *assignment
	hints   chan pod.Hint
	news    chan struct{}
	given   chan string
	results chan *result
	view    atomic.Pointer[pod.View]
	// superseded ends the view that readers have now.
	superseded chan struct{}
	// current is what was asked of the worker last; it outlives a panic.
	current assignment
}

func newWorker(ref pod.Ref, deps *equipment, first assignment) *worker {
	return &worker{
		ref:     ref,
		deps:    deps,
		mailbox: make(chan *assignment, 1),
		hints:   make(chan pod.Hint, 1),
		news:    make(chan struct{}, 1),
		given:   make(chan string, 1),
		results: make(chan *result),
		current: first,
	}
}

// log names the pod in what is logged. It is made anew for each line: kept, it would be
// a KiB for each pod.
func (w *worker) log() *zap.Logger {
	return w.deps.Log.With(zap.String("pod", w.ref.String()), zap.String("uid", string(w.ref.UID)))
}

// assign replaces what is wanted. Only the supervisor calls it.
func (w *worker) assign(a assignment) {
	select {
	case <-w.mailbox:
	default:
	}
	w.mailbox <- &a
}

// hint asks the worker to look at its pod. Hints coalesce. Only the supervisor
// calls it.
func (w *worker) hint(h pod.Hint) {
	select {
	case before := <-w.hints:
		h = before.Merge(h)
	default:
	}
	w.hints <- h
}

// look passes a hint on.
func (w *worker) look(h pod.Hint) {
	if !h.Given {
		w.hint(h)
		return
	}
	select {
	case w.given <- h.Why:
	default:
	}
}

// nudge asks the worker to decide again on what its probes have come to; the
// runtime need not be asked for that.
func (w *worker) nudge() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// run drives the pod until nothing of it is left or ctx ends. It never leaves
// an operation behind: the next worker for the pod would race it.
func (w *worker) run(ctx context.Context) {
	s := w.begin()
	defer w.leave(s)
	for {
		wake, done := w.step(ctx, s)
		if done || !w.wait(ctx, s, wake) {
			return
		}
	}
}

// begin is what is known before anything was looked at.
func (w *worker) begin() *state {
	s := newState(w.current, time.Now())
	s.Actuated = w.deps.Allocations.Actuated(w.ref.UID)
	return s
}

// leave ends what goes on beside the worker.
func (w *worker) leave(s *state) {
	defer w.drain(s)
	defer w.unwatch(s)
	s.traceLeft()
}

// step decides on what is known and begins what is due. It returns when to decide
// again if nothing happens until then, and whether nothing is left of the pod.
func (w *worker) step(ctx context.Context, s *state) (wake time.Time, done bool) {
	for {
		if s.stale {
			w.glimpse(s)
			w.observe(ctx, s)
		}
		s.now = time.Now()
		if s.stale && !s.observed.At.IsZero() {
			return time.Time{}, false
		}
		s.learn(w.deps.Probes.Verdicts(w.ref.UID))
		in := w.input(s)
		p := plan.Next(in)
		if p.Stop != nil {
			s.stopped(p.Stop)
			continue
		}
		if s.endBy.IsZero() {
			s.endBy = p.EndBy
		}
		s.guard(&p)
		w.report(s, in, &p)
		if p.Done {
			w.finish(s)
			return time.Time{}, true
		}
		for _, t := range p.Cancel {
			s.ops[t].abandon()
		}
		for _, a := range p.Actions {
			w.start(ctx, s, in, a)
		}
		w.probe(s, in)
		w.publishView(s, &p)
		return p.WakeAt, false
	}
}

// wait sleeps until something happens; false when ctx ended.
func (w *worker) wait(ctx context.Context, s *state, wake time.Time) bool {
	if s.stale {
		wake = s.observeAgain
	}
	var timer <-chan time.Time
	if !wake.IsZero() {
		t := time.NewTimer(max(time.Until(wake), 0))
		defer t.Stop()
		timer = t.C
	}
	// The stack of a goroutine that waits here is most of what a quiet pod takes beside
	// its object: what is done on news has its own frames.
	select {
	case <-ctx.Done():
		return false
	case a := <-w.mailbox:
		w.accept(s, a)
	case h := <-w.hints:
		s.heed(h)
	case <-w.news:
		s.note("hint: a probe came to another verdict")
	case why := <-w.given:
		s.relent(why)
	case r := <-w.results:
		w.settle(s, r)
	case <-timer:
	}
	return true
}

// accept takes over what the supervisor wants now.
func (w *worker) accept(s *state, a *assignment) {
	w.current = *a
	s.accept(*a)
	w.follow(s)
}

// observe asks the runtime. What it cannot answer stays as it was last known,
// and nothing is decided on it.
func (w *worker) observe(ctx context.Context, s *state) {
	if wait := time.Until(s.observeAgain); wait > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	began := time.Now()
	o, err := w.deps.Observer.Observe(ctx, w.ref)
	if err != nil {
		s.observeFailures++
		s.observeAgain = time.Now().Add(min(observeRetryMin<<min(s.observeFailures-1, 10), observeRetryMax))
		if s.observeFailures == 1 {
			s.note("the runtime did not answer: " + err.Error())
			w.log().Warn("cannot observe the pod, will retry until the runtime answers", zap.Error(err))
		}
		return
	}
	s.observeFailures, s.observeAgain = 0, time.Time{}
	o.At = time.Now()
	s.observed, s.looked, s.stale = o, began, false
	s.forgive()
}

// start begins one action on a goroutine of its own.
func (w *worker) start(ctx context.Context, s *state, in *pod.Input, a plan.Action) {
	ctx, cancel := context.WithCancel(ctx)
	op := &operation{action: a, cancel: cancel, Operation: pod.Operation{
		Target: a.Target(), Verb: a.Verb(), Since: s.now, Constructive: plan.Constructive(a)}}
	switch a := a.(type) {
	case plan.StartContainer:
		op.Attempt = a.Attempt
	case plan.RunPreStop:
		op.Deadline = a.Deadline
	case plan.StopContainer:
		op.Deadline = a.Deadline
	default:
	}
	s.begin(op)
	w.noteSizes(s)
	if resize, ok := a.(plan.Resize); ok { // an agent that takes over in the middle has to do it again
		w.deps.Allocations.SetActuated(w.ref.UID, s.Actuated.Doubting(resize.Containers...), true)
	}
	j := job{ref: w.ref, pod: s.spec.Pod, source: s.spec.Source, volumes: s.volumes, actuated: s.Actuated, address: plan.Address(in), deps: w.deps}
	if len(s.observed.Sandboxes) > 0 {
		j.ips = s.observed.Sandboxes[0].IPs
	}
	ctx, span := w.traceAction(ctx, s, a)
	go func() {
		defer cancel()
		r := &result{op: op}
		defer func() { w.results <- r }()
		defer func() { traceEnd(span, r.err) }()
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("bug: %s of %s panicked: %v", a.Verb(), a.Target(), p)
				w.log().Error("an action panicked", zap.String("verb", a.Verb()), zap.Any("panic", p), zap.Stack("stack"))
			}
		}()
		r.outcome, r.err = j.do(ctx, a)
	}()
}

// probe has the probes run that are wanted now.
func (w *worker) probe(s *state, in *pod.Input) {
	if s.spec.Pod == nil {
		return
	}
	targets := plan.Probes(in)
	if len(targets) > 0 || s.probed {
		w.deps.Probes.Watch(s.spec.Pod, targets)
	}
	s.probed = len(targets) > 0
}

// settle takes in the result of an operation.
func (w *worker) settle(s *state, r *result) {
	took := time.Since(r.op.Since)
	if h := w.deps.Hooks.Operation; h != nil {
		h(s.spec.Pod, r.op.action, took, r.err)
	}
	s.end(r, took, time.Now())
	w.noteSizes(s)
	if _, mounted := r.op.action.(plan.MountVolumes); mounted {
		w.follow(s)
	}
}

// follow says to the volumes what their pod has become.
func (w *worker) follow(s *state) {
	if s.volumes != nil && s.spec.Pod != nil {
		w.deps.Volumes.Follow(s.spec.Pod)
	}
}

// noteSizes writes down what the containers were given, if that is news.
func (w *worker) noteSizes(s *state) {
	if s.resized {
		s.resized = false
		w.deps.Allocations.SetActuated(w.ref.UID, s.Actuated, false)
	}
}

// unwatch ends the probes of a pod nobody looks after any more.
func (w *worker) unwatch(s *state) {
	if s.probed {
		w.deps.Probes.Watch(s.spec.Pod, nil)
	}
}

// drain cancels what runs and waits for it.
func (w *worker) drain(s *state) {
	for _, op := range s.ops {
		op.cancel()
	}
	for len(s.ops) > 0 {
		r := <-w.results
		delete(s.ops, r.op.Target)
	}
}
