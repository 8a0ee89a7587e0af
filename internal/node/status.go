package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// tries is how often a status is sent before the next period.
	tries = 5
	// jitter spreads the nodes' updates.
	jitter = 0.04
)

// poster is what the status loop remembers. It is used by one goroutine.
type poster struct {
	*Registrar
	machine       MachineFacts
	lastReport    time.Time
	delay         time.Duration
	problems      string
	rebootTold    bool
	unschedulable bool
	readyTold     string
}

// postStatus registers the node and posts its status: periodically, and at once
// when the runtime's state changes or its time is up.
func (r *Registrar) postStatus(ctx context.Context) {
	p := &poster{Registrar: r}
	p.gather(ctx)
	if r.deps.Client != nil && r.cfg.Register {
		r.register(ctx, func() Facts { return r.facts(ctx, p.machine) })
	}
	for ctx.Err() == nil {
		p.update(ctx)
		tick := time.NewTimer(wait.Jitter(r.cfg.Timing.StatusUpdate, jitter))
		select {
		case <-tick.C:
			p.gather(ctx)
		case <-r.changed:
		case <-r.expiry():
		case <-ctx.Done():
		}
		tick.Stop()
	}
}

// gather refreshes what costs something to find out.
func (p *poster) gather(ctx context.Context) {
	p.machine = p.deps.Machine.Gather(ctx)
	net := p.deps.Machine.Network(ctx)
	if ctx.Err() == nil {
		p.network.Store(&net)
		p.publish()
	}
}

// expiry fires when the runtime begins to count as down.
func (r *Registrar) expiry() <-chan time.Time {
	s := r.runtime.Load()
	if s.LastOK.IsZero() || s.Down(time.Now()) {
		return nil
	}
	return time.After(time.Until(s.LastOK.Add(s.DownAfter)))
}

// update posts the status, with a fresh copy of the Node after a failure.
func (p *poster) update(ctx context.Context) {
	f := p.facts(ctx, p.machine)
	if p.deps.Client == nil {
		p.apply(Build(&p.cfg, f, p.node.Load(), time.Now()))
		return
	}
	var err error
	for i := range tries {
		if err = p.tryUpdate(ctx, f, i > 0); err == nil || ctx.Err() != nil {
			return
		}
		if i > 0 && p.deps.HeartbeatFailed != nil {
			p.deps.HeartbeatFailed()
		}
	}
	p.log.Error("posting the node's status failed, trying again in the next period", zap.Int("tries", tries), zap.Error(err))
}

// apply is what is left to do without an API server: remember and tell.
func (p *poster) apply(result Result) {
	p.node.Store(result.Node)
	p.tell(result)
}

func (p *poster) tryUpdate(ctx context.Context, f Facts, fresh bool) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timing.StatusUpdate)
	defer cancel()
	prior := p.node.Load()
	if fresh || prior == nil {
		var err error
		if prior, err = p.deps.Client.CoreV1().Nodes().Get(ctx, p.cfg.Name, metav1.GetOptions{}); err != nil {
			return fmt.Errorf("getting the Node: %w", err)
		}
		p.node.Store(prior)
	}
	p.markRegistered()
	result := Build(&p.cfg, f, prior, time.Now())
	p.tell(result)
	changed := differ(prior, result.Node)
	if !changed && time.Since(p.lastReport) < p.cfg.Timing.StatusReport+p.delay {
		p.posted(result)
		return nil
	}
	updated, err := p.patch(ctx, prior, result.Node)
	if err != nil {
		return err
	}
	// After a change the next report is spread, so that nodes that changed
	// together do not report together for ever.
	p.delay = 0
	if changed || p.lastReport.IsZero() {
		p.delay = wait.Jitter(p.cfg.Timing.StatusReport/2, 2) - p.cfg.Timing.StatusReport
	}
	p.lastReport = time.Now()
	p.node.Store(updated)
	p.publish()
	p.posted(result)
	p.recordOnce(result.Events)
	return nil
}

// posted takes note of what the API server has.
func (r *Registrar) posted(result Result) {
	if result.Ready() {
		r.deps.Milestone(Ready)
	}
}

// recordOnce records the events of a posted status. A reboot is told once: an
// old copy of the Node may still show the boot before.
func (p *poster) recordOnce(events []Event) {
	for _, e := range events {
		if e.Reason == "Rebooted" {
			if p.rebootTold {
				continue
			}
			p.rebootTold = true
		}
		p.record([]Event{e})
	}
}

func (r *Registrar) record(events []Event) {
	for _, e := range events {
		r.deps.Event(e.Type, e.Reason, e.Message)
	}
}

// tell logs and records what changed since the last time.
func (p *poster) tell(result Result) {
	slices.Sort(result.Problems)
	if text := strings.Join(result.Problems, "; "); text != p.problems {
		p.problems = text
		if text != "" {
			p.log.Warn("some facts of the node are not known", zap.Strings("problems", result.Problems))
		}
	}
	if c := findCondition(result.Node.Status.Conditions, corev1.NodeReady); c != nil && c.Reason+c.Message != p.readyTold {
		p.readyTold = c.Reason + c.Message
		p.log.Info("node condition Ready", zap.String("status", string(c.Status)),
			zap.String("reason", c.Reason), zap.String("message", c.Message), zap.String("runtime", p.runtime.Load().Err))
	}
	if now := result.Node.Spec.Unschedulable; now != p.unschedulable {
		p.unschedulable = now
		reason := "NodeSchedulable"
		if now {
			reason = "NodeNotSchedulable"
		}
		p.record([]Event{statusEvent(p.cfg.Name, reason)})
	}
}

// differ reports whether two Nodes differ in what the agent posts, apart from
// the heartbeats.
func differ(a, b *corev1.Node) bool {
	quiet := func(s *corev1.NodeStatus) *corev1.NodeStatus {
		s = s.DeepCopy()
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
		return s
	}
	return !equality.Semantic.DeepEqual(a.Labels, b.Labels) || !equality.Semantic.DeepEqual(a.Annotations, b.Annotations) ||
		!equality.Semantic.DeepEqual(quiet(&a.Status), quiet(&b.Status))
}
