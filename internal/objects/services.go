package objects

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// services are the Services of the cluster. The reflector writes them. It
// implements cache.ReflectorStore.
type services struct {
	failures *failures
	// known is closed by the first list.
	known chan struct{}

	mu     sync.Mutex
	byName map[types.NamespacedName]*corev1.Service
}

var _ cache.ReflectorStore = (*services)(nil)

func newServices(log *zap.Logger) *services {
	return &services{
		failures: newFailures("the services of the cluster", log),
		known:    make(chan struct{}),
		byName:   map[types.NamespacedName]*corev1.Service{},
	}
}

// all waits for the first list and returns what is known now.
func (s *services) all(ctx context.Context) ([]*corev1.Service, error) {
	select {
	case <-s.known:
	default:
		select {
		case <-s.known:
		case <-ctx.Done():
			if err := s.failures.last(); err != nil {
				return nil, err // it says what was tried
			}
			return nil, fmt.Errorf("waiting for the API server's first list of services: %w", ctx.Err())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.AppendSeq(make([]*corev1.Service, 0, len(s.byName)), maps.Values(s.byName)), nil
}

// Add implements cache.ReflectorStore.
func (s *services) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s *services) Update(obj any) error {
	service, err := asService(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byName[nameOf(service)] = service
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *services) Delete(obj any) error {
	service, err := asService(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byName, nameOf(service))
	return nil
}

// Replace implements cache.ReflectorStore: the list is complete.
func (s *services) Replace(list []any, _ string) error {
	fresh := make(map[types.NamespacedName]*corev1.Service, len(list))
	for _, obj := range list {
		service, err := asService(obj)
		if err != nil {
			return err
		}
		fresh[nameOf(service)] = service
	}
	s.mu.Lock()
	s.byName = fresh
	s.mu.Unlock()
	select {
	case <-s.known:
	default:
		close(s.known) // only the reflector's goroutine gets here
	}
	return nil
}

// Resync implements cache.ReflectorStore. There is nothing to resync with.
func (s *services) Resync() error { return nil }

func asService(obj any) (*corev1.Service, error) {
	object, err := trim(obj)
	if err != nil {
		return nil, err
	}
	service, ok := object.(*corev1.Service)
	if !ok {
		return nil, fmt.Errorf("the watch of services delivered a %T", obj)
	}
	return service, nil
}

func nameOf(s *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}
