package node

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

const (
	registerBackoff    = 100 * time.Millisecond
	registerBackoffMax = 7 * time.Second
)

// register creates or adopts the Node, and tries until it works.
func (r *Registrar) register(ctx context.Context, gather func() Facts) {
	wait := registerBackoff
	for {
		err := r.tryRegister(ctx, gather())
		if err == nil {
			r.markRegistered()
			return
		}
		if ctx.Err() != nil {
			return
		}
		r.log.Error("registering the node failed, trying again", zap.String("node", r.cfg.Name), zap.Duration("in", wait), zap.Error(err))
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, registerBackoffMax)
	}
}

func (r *Registrar) markRegistered() {
	r.registeredOnce.Do(func() { close(r.registered) })
}

func (r *Registrar) tryRegister(ctx context.Context, f Facts) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timing.StatusUpdate)
	defer cancel()
	nodes := r.deps.Client.CoreV1().Nodes()
	fresh := Build(&r.cfg, f, nil, time.Now())
	r.deps.Milestone(Registering)
	created, err := nodes.Create(ctx, fresh.Node, metav1.CreateOptions{})
	switch {
	case err == nil:
		r.log.Info("registered the node", zap.String("node", r.cfg.Name))
		r.node.Store(created)
		r.deps.Milestone(Registered)
		r.record(fresh.Events)
		return nil
	case apierrors.IsAlreadyExists(err), apierrors.IsForbidden(err):
		// It may be there already; not everybody may create nodes.
	default:
		return fmt.Errorf("creating the Node: %w", err)
	}
	existing, getErr := nodes.Get(ctx, r.cfg.Name, metav1.GetOptions{})
	if getErr != nil {
		return fmt.Errorf("creating the Node: %w; getting it instead: %w", err, getErr)
	}
	adopted, err := r.patch(ctx, existing, Reconcile(&r.cfg, f, existing))
	if err != nil {
		return fmt.Errorf("adopting the Node that exists: %w", err)
	}
	r.log.Info("adopted the node that was registered before", zap.String("node", r.cfg.Name))
	r.node.Store(adopted)
	return nil
}

// watchNode follows the Node, so that a change by others is seen and a status
// that somebody damaged is repaired.
func (r *Registrar) watchNode(ctx context.Context) {
	selector := fields.OneTermEqualSelector("metadata.name", r.cfg.Name).String()
	nodes := r.deps.Client.CoreV1().Nodes()
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.FieldSelector = selector
			return nodes.List(ctx, opts)
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.FieldSelector = selector
			return nodes.Watch(ctx, opts)
		},
	}, r.deps.Client)
	cache.NewReflectorWithOptions(lw, &corev1.Node{}, &nodeStore{r}, cache.ReflectorOptions{Name: "node " + r.cfg.Name}).RunWithContext(ctx)
}

// nodeStore takes what the watch delivers. It implements cache.ReflectorStore.
type nodeStore struct{ r *Registrar }

var _ cache.ReflectorStore = (*nodeStore)(nil)

// Add implements cache.ReflectorStore.
func (s *nodeStore) Add(obj any) error { return s.put(obj) }

// Update implements cache.ReflectorStore.
func (s *nodeStore) Update(obj any) error { return s.put(obj) }

func (s *nodeStore) put(obj any) error {
	n, ok := obj.(*corev1.Node)
	if !ok {
		return fmt.Errorf("the watch of the node delivered a %T", obj)
	}
	if n.Name != s.r.cfg.Name {
		return nil
	}
	s.r.node.Store(n)
	s.r.publish()
	return nil
}

// Delete implements cache.ReflectorStore. Somebody who deletes the Node wants it
// gone: it is registered again when the agent starts again.
func (s *nodeStore) Delete(obj any) error {
	if n, ok := obj.(*corev1.Node); ok && n.Name == s.r.cfg.Name {
		s.r.log.Warn("the Node object was deleted; restart the agent to register the node again", zap.String("node", n.Name))
		s.r.node.Store(nil)
	}
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *nodeStore) Replace(list []any, _ string) error {
	for _, obj := range list {
		if err := s.put(obj); err != nil {
			return err
		}
	}
	return nil
}

// Resync implements cache.ReflectorStore.
func (s *nodeStore) Resync() error { return nil }
