package probe

import (
	"container/heap"
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/probe/answer"
)

// attempts is how often a probe is tried that cannot be made, as in the kubelet.
const attempts = 3

// Run starts probes when they are due, until ctx ends and every run has ended.
// A Prober runs once.
func (p *Prober) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-p.wake:
		}
		if next, ok := p.startDue(ctx, &wg, time.Now()); ok {
			timer.Reset(time.Until(next))
		} else {
			timer.Stop()
		}
	}
}

// startDue starts what is due and returns when something is next.
func (p *Prober) startDue(ctx context.Context, wg *sync.WaitGroup, now time.Time) (next time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.due) > 0 {
		if i := p.due[0]; i.due.After(now) {
			return i.due, true
		}
		i := heap.Pop(&p.due).(*item)
		p.stats.MaxLate = max(p.stats.MaxLate, now.Sub(i.due))
		var skipped int
		i.tick, skipped = i.rules.behind(i.tick, now)
		p.stats.Skipped += uint64(skipped)
		p.stats.Runs++
		p.stats.Running++
		runCtx, cancel := context.WithCancel(ctx)
		i.cancel = cancel
		r := run{item: i, pod: i.of.pod, target: i.target, begin: now}
		wg.Go(func() {
			defer cancel()
			p.run(runCtx, r)
		})
	}
	return time.Time{}, false
}

// run is one run of a probe, with what was so when it began.
type run struct {
	item   *item
	pod    *corev1.Pod
	target pod.ProbeTarget
	begin  time.Time
}

// run asks the target, tells everybody, and puts the probe back into the
// schedule.
func (p *Prober) run(ctx context.Context, r run) {
	a, err := p.ask(ctx, r)
	took := time.Since(r.begin)
	if verdict, changed, ok := p.count(ctx, r.item, a, err); ok {
		// Whoever waits for the verdict comes before whoever reads about it.
		if changed && p.deps.Changed != nil {
			p.deps.Changed(r.pod.UID)
		}
		p.tell(r, a, err, took)
		if changed {
			p.log.Info("a probe has a new verdict", append(r.fields(), zap.Bool("success", verdict == pod.VerdictSuccess))...)
		}
	}
	p.reschedule(ctx, r.item, time.Now())
}

// ask asks the target. When that cannot be done it is tried again.
func (p *Prober) ask(ctx context.Context, r run) (a answer.Answer, err error) {
	for range attempts {
		a, err = p.try(ctx, r)
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return a, err
}

// try asks the target once. What panics there is an error of this probe alone.
func (p *Prober) try(ctx context.Context, r run) (a answer.Answer, err error) {
	defer func() {
		if v := recover(); v != nil {
			p.log.Error("a probe panicked", append(r.fields(), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))...)
			a, err = answer.Answer{}, fmt.Errorf("the probe panicked: %v", v)
		}
	}()
	return p.handle(ctx, r.target)
}

// count counts an answer. It is not ok when nobody wants it any more: then ctx,
// the context of the run, has ended.
func (p *Prober) count(ctx context.Context, i *item, a answer.Answer, err error) (verdict pod.Verdict, changed, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		return pod.VerdictUnknown, false, false
	}
	before := i.tally.verdict
	if err == nil {
		i.tally = i.tally.add(i.target.Kind, i.rules, a.Result)
	}
	return i.tally.verdict, i.tally.verdict != before, true
}

// tell gives an answer to users and to the metrics. Outputs and errors may have
// secrets of the pod: they go to those who may read its events, not to the log.
func (p *Prober) tell(r run, a answer.Answer, err error, took time.Duration) {
	kind, result := r.target.Kind.String(), "successful"
	switch {
	case err != nil:
		result = "unknown"
		p.warn(r, "Unhealthy", fmt.Sprintf("%s probe errored and resulted in %s state: %s", kind, a.Result, answer.Cut(err.Error())))
	case a.Result == answer.Failure:
		result = "failed"
		p.warn(r, "Unhealthy", kind+" probe failed: "+a.Output)
	case a.Result == answer.Warning:
		p.warn(r, "ProbeWarning", kind+" probe warning: "+a.Output)
	}
	if result != "successful" {
		p.log.Debug("a probe has no good answer", append(r.fields(), zap.String("result", result), zap.Duration("took", took))...)
	}
	if p.deps.Observe != nil {
		p.deps.Observe(r.pod, r.target.Container.Name, r.target.Kind, result, took)
	}
}

func (p *Prober) warn(r run, reason, message string) {
	p.deps.Events.Event(r.pod, r.target.Container.Name, true, reason, message)
}

// reschedule puts a probe whose run has ended back, unless it has no next run.
func (p *Prober) reschedule(ctx context.Context, i *item, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Running--
	i.cancel = nil
	if i.tally.held || ctx.Err() != nil {
		return
	}
	var skipped int
	i.tick, i.due, skipped = i.rules.next(i.tick, now)
	p.stats.Skipped += uint64(skipped)
	p.enqueue(i)
}

func (r run) fields() []zap.Field {
	return []zap.Field{
		zap.String("pod", pod.RefOf(r.pod).String()), zap.String("container", r.target.Container.Name),
		zap.Stringer("kind", r.target.Kind),
	}
}
