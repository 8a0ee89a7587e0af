package probe

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/probe/answer"
	"nodeagent.dev/nodeagent/internal/probe/exec"
)

// Exec is the port to whoever runs commands in containers.
type Exec = exec.Runner

// Events records what users are told.
type Events interface {
	// Event records an event about a container of a pod.
	Event(p *corev1.Pod, container string, warning bool, reason, message string)
}

// Config is what a Prober has to know.
type Config struct {
	// Version is the Kubernetes version that probes announce, as "1.37".
	Version string
}

// Deps is what a Prober needs. All functions are called from any goroutine.
type Deps struct {
	Exec   Exec
	Events Events
	// Changed is told when a verdict of a pod is another. While it blocks, only
	// this probe waits. May be nil.
	Changed func(types.UID)
	// Observe is told of every run: how it ended ("successful", "failed", or
	// "unknown" for one that could not be made) and how long it took. May be nil.
	Observe func(p *corev1.Pod, container string, kind pod.ProbeKind, result string, took time.Duration)
	Log     *zap.Logger
}

// Stats are figures about a Prober.
type Stats struct {
	// Watched probes there are now, and how many of them are running.
	Watched, Running int
	// Runs that were started.
	Runs uint64
	// Skipped runs: the one before took longer than the period.
	Skipped uint64
	// MaxLate is the longest time by which a run was started too late.
	MaxLate time.Duration
}

// Prober runs the probes of all pods.
type Prober struct {
	deps  Deps
	log   *zap.Logger
	start time.Time
	// handle asks a target once.
	handle func(context.Context, pod.ProbeTarget) (answer.Answer, error)
	// wake tells Run that a probe is due earlier than any was.
	wake chan struct{}

	mu    sync.Mutex
	pods  map[types.UID]*watched
	due   schedule
	turn  time.Time // of the next probe whose container was there before the agent
	stats Stats
}

// watched are the probes of one pod.
type watched struct {
	pod    *corev1.Pod
	probes map[pod.ProbeKey]*item
	// round is how often the pod was watched; it marks what is wanted still.
	round uint64
}

// item is one probe: of one kind, of one instance of a container. It is in the
// heap, or running, or held. Prober.mu guards it.
type item struct {
	target pod.ProbeTarget
	of     *watched
	rules  rules
	tally  tally
	// tick is the time of the schedule that the next run stands for, or this one
	// does; due is when it is to start.
	tick, due time.Time
	at        int                // place in the heap, or outside
	cancel    context.CancelFunc // of the run in progress, or nil
	round     uint64
}

// New returns a Prober that watches nothing. Now counts as the start of the
// agent: containers that were up before are asked one after the other, and then at
// random times.
func New(cfg Config, deps Deps) *Prober {
	h := handlers{exec: deps.Exec, userAgent: "kube-probe/" + cfg.Version}
	return &Prober{
		deps: deps, log: deps.Log, start: time.Now(), handle: h.handle,
		wake: make(chan struct{}, 1), pods: map[types.UID]*watched{},
	}
}

// Watch says which probes of a pod are to be run from now on. Those that were
// watched already go on as they are, with the numbers and addresses they have
// now; those that are not wanted any more end at once, and what is known of them
// is forgotten. Targets whose container has no such probe are ignored. Watch
// never waits for a probe.
func (p *Prober) Watch(of *corev1.Pod, targets []pod.ProbeTarget) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.pods[of.UID]
	if w == nil {
		if len(targets) == 0 {
			return
		}
		w = &watched{probes: make(map[pod.ProbeKey]*item, len(targets))}
		p.pods[of.UID] = w
	}
	w.pod = of
	w.round++
	wanted := 0
	for _, t := range targets {
		if p.want(w, t) {
			wanted++
		}
	}
	if wanted < len(w.probes) {
		for key, i := range w.probes {
			if i.round != w.round {
				p.drop(i)
				delete(w.probes, key)
			}
		}
	}
	if len(w.probes) == 0 {
		delete(p.pods, of.UID)
	}
}

// want watches a target, and reports whether it is one more.
func (p *Prober) want(w *watched, t pod.ProbeTarget) bool {
	spec := t.Kind.Spec(t.Container)
	if spec == nil {
		return false
	}
	i := w.probes[t.ProbeKey]
	if i != nil {
		again := i.round == w.round
		i.target, i.rules, i.round = t, rulesOf(spec), w.round
		return !again
	}
	i = &item{target: t, of: w, rules: rulesOf(spec), at: outside, round: w.round}
	now := time.Now()
	at, known := i.rules.first(t.StartedAt, now, p.start)
	i.tick, i.due = at, at
	if known {
		p.turn = later(p.turn, now)
		//nolint:gosec // random to spread load, not to be secret
		i.tick, i.due = i.rules.resume(now, p.turn, rand.Float64())
		p.turn = p.turn.Add(turnFor(spec))
	}
	w.probes[t.ProbeKey] = i
	p.stats.Watched++
	p.enqueue(i)
	return true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// drop forgets a probe and ends its run.
func (p *Prober) drop(i *item) {
	p.stats.Watched--
	if i.at != outside {
		heap.Remove(&p.due, i.at)
	}
	if i.cancel != nil {
		i.cancel()
	}
}

// enqueue puts a probe into the schedule.
func (p *Prober) enqueue(i *item) {
	heap.Push(&p.due, i)
	if i.at == 0 {
		select {
		case p.wake <- struct{}{}:
		default: // told already
		}
	}
}

// Verdicts returns what is known of the probes of a pod that are watched now.
func (p *Prober) Verdicts(uid types.UID) map[pod.ProbeKey]pod.Verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.pods[uid]
	if w == nil {
		return nil
	}
	known := make(map[pod.ProbeKey]pod.Verdict, len(w.probes))
	for key, i := range w.probes {
		if i.tally.verdict != pod.VerdictUnknown {
			known[key] = i.tally.verdict
		}
	}
	return known
}

// Stats returns the figures of this moment.
func (p *Prober) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}
