package objects

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// collection are all objects of a kind that a selector lets through. The reflector
// writes them.
type collection[T metav1.Object] struct {
	what     string // "services"
	failures *failures
	// known is closed by the first list.
	known chan struct{}

	mu     sync.Mutex
	byName map[types.NamespacedName]T
}

var _ cache.ReflectorStore = (*collection[metav1.Object])(nil)

func newCollection[T metav1.Object](what string, log *zap.Logger) *collection[T] {
	return &collection[T]{
		what:     what,
		failures: newFailures("the "+what+" of the cluster", log),
		known:    make(chan struct{}),
		byName:   map[types.NamespacedName]T{},
	}
}

// await waits for the first list.
func (c *collection[T]) await(ctx context.Context) error {
	select {
	case <-c.known:
		return nil
	default:
	}
	select {
	case <-c.known:
		return nil
	case <-ctx.Done():
	}
	if err := c.failures.last(); err != nil {
		return err // it says what was tried
	}
	return fmt.Errorf("waiting for the API server's first list of %s: %w", c.what, ctx.Err())
}

// all waits for the first list and returns what is known now.
func (c *collection[T]) all(ctx context.Context) ([]T, error) {
	if err := c.await(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.AppendSeq(make([]T, 0, len(c.byName)), maps.Values(c.byName)), nil
}

// one waits for the first list and returns an object, and whether there is one of
// that name.
func (c *collection[T]) one(ctx context.Context, name types.NamespacedName) (T, bool, error) {
	var none T
	if err := c.await(ctx); err != nil {
		return none, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	object, ok := c.byName[name]
	return object, ok, nil
}

// Add implements cache.ReflectorStore.
func (c *collection[T]) Add(obj any) error { return c.Update(obj) }

// Update implements cache.ReflectorStore.
func (c *collection[T]) Update(obj any) error {
	object, err := c.mine(obj)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byName[nameOf(object)] = object
	return nil
}

// Delete implements cache.ReflectorStore.
func (c *collection[T]) Delete(obj any) error {
	object, err := c.mine(obj)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byName, nameOf(object))
	return nil
}

// Replace implements cache.ReflectorStore: the list is complete.
func (c *collection[T]) Replace(list []any, _ string) error {
	fresh := make(map[types.NamespacedName]T, len(list))
	for _, obj := range list {
		object, err := c.mine(obj)
		if err != nil {
			return err
		}
		fresh[nameOf(object)] = object
	}
	c.mu.Lock()
	c.byName = fresh
	c.mu.Unlock()
	select {
	case <-c.known:
	default:
		close(c.known) // only the reflector's goroutine gets here
	}
	return nil
}

// Resync implements cache.ReflectorStore. There is nothing to resync with.
func (c *collection[T]) Resync() error { return nil }

func (c *collection[T]) mine(obj any) (T, error) {
	var none T
	object, err := trim(obj)
	if err != nil {
		return none, err
	}
	typed, ok := object.(T)
	if !ok {
		return none, fmt.Errorf("the watch of %s delivered a %T", c.what, obj)
	}
	return typed, nil
}

func nameOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}
