package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
)

// Registrar keeps the Node object, its lease and the snapshot of the node.
type Registrar struct {
	cfg  Config
	deps Deps
	log  *zap.Logger

	poke    chan struct{} // asks for a look at the runtime; holds one
	changed chan struct{} // says that the runtime's state changed; holds one

	runtime atomic.Pointer[RuntimeState]
	network atomic.Pointer[NetworkFacts]
	// node is the Node as last seen at, or confirmed by, the API server.
	node     atomic.Pointer[corev1.Node]
	snapshot snapshot
	// registered is closed once the Node is known to exist.
	registered     chan struct{}
	registeredOnce sync.Once
}

// Milestone is a step on the way to a node that is ready.
type Milestone int

// The milestones, in their order.
const (
	// Registering: the Node is about to be created.
	Registering Milestone = iota
	// Registered: it was; a node that was there before is not registered anew.
	Registered
	// Ready: the API server has been told that the node is ready.
	Ready
)

// New returns a registrar that does nothing until Run is called.
func New(cfg Config, deps Deps) (*Registrar, error) {
	if err := errors.Join(cfg.validate(), deps.validate()); err != nil {
		return nil, err
	}
	cfg.Timing = cfg.Timing.withDefaults()
	if deps.Event == nil {
		deps.Event = func(string, string, string) {}
	}
	if deps.Milestone == nil {
		deps.Milestone = func(Milestone) {}
	}
	r := &Registrar{
		cfg: cfg, deps: deps, log: deps.Log,
		poke: make(chan struct{}, 1), changed: make(chan struct{}, 1), registered: make(chan struct{}),
	}
	r.runtime.Store(&RuntimeState{DownAfter: cfg.Timing.RuntimeDown})
	r.publish()
	return r, nil
}

// Poke asks for a look at the runtime and a status now, because something hints
// that the runtime or a check broke, recovered or changed. It never blocks.
func (r *Registrar) Poke() {
	hint(r.poke)
	hint(r.changed)
}

// Registered is closed once the Node is known to exist.
func (r *Registrar) Registered() <-chan struct{} { return r.registered }

// Node is the Node as last seen; nil before. Nobody may change it.
func (r *Registrar) Node() *corev1.Node { return r.node.Load() }

// Run keeps everything until ctx is done, and returns nil when all that it
// started has ended.
func (r *Registrar) Run(ctx context.Context) error {
	r.deps.Event(corev1.EventTypeNormal, "Starting", "Starting kubelet.")
	var wg sync.WaitGroup
	wg.Go(func() { r.watchRuntime(ctx) })
	wg.Go(func() { r.postStatus(ctx) })
	if r.deps.Client != nil {
		wg.Go(func() { r.watchNode(ctx) })
	}
	if r.deps.LeaseClient != nil {
		wg.Go(func() { r.keepLease(ctx) })
	}
	wg.Wait()
	return nil
}

// facts gathers what Build needs. The costly part, the machine and its network,
// is given by the caller, who knows how fresh it has to be.
func (r *Registrar) facts(ctx context.Context, m MachineFacts) Facts {
	f := Facts{Machine: m, Runtime: *r.runtime.Load()}
	if n := r.network.Load(); n != nil {
		f.Network = *n
	}
	if r.deps.Pressure != nil {
		f.Pressure = r.deps.Pressure()
	}
	for _, c := range r.deps.Checks {
		if err := c.Err(); err != nil {
			f.Unhealthy = append(f.Unhealthy, fmt.Sprintf("%s is not healthy: %v", c.Name, err))
		}
	}
	if r.deps.Images != nil && f.Runtime.Err == "" {
		images, err := r.deps.Images.NodeImages(ctx)
		if err != nil {
			r.log.Warn("listing the images for the node status failed", zap.Error(err))
		}
		f.Images = images
	}
	return f
}

// hint leaves a value in a channel that holds one.
func hint(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause waits, and reports false when ctx is done first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
