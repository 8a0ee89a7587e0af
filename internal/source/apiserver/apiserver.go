package apiserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"nodeagent.dev/nodeagent/internal/pod"
)

// burst is the shortest time between two sets. The first change after a quiet
// time is sent at once.
const burst = 10 * time.Millisecond

// Source watches the pods of one node. It implements source.Source.
type Source struct {
	client   kubernetes.Interface
	nodeName string
	log      *zap.Logger
}

// New returns a source for the pods bound to a node. The client is expected to
// speak protobuf and to be allowed to list and watch these pods.
func New(client kubernetes.Interface, nodeName string, log *zap.Logger) (*Source, error) {
	switch {
	case client == nil:
		return nil, errors.New("pods of the API server: there is no client")
	case nodeName == "":
		return nil, errors.New("pods of the API server: the node's name is empty")
	}
	return &Source{client: client, nodeName: nodeName, log: log}, nil
}

// Name implements source.Source.
func (s *Source) Name() pod.SourceName { return pod.SourceAPI }

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, out chan<- []*corev1.Pod) error {
	store := newStore(time.Now)
	reflector := cache.NewReflectorWithOptions(s.listerWatcher(), &corev1.Pod{}, store,
		cache.ReflectorOptions{Name: "pods of node " + s.nodeName})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		reflector.RunWithContext(ctx)
	}()
	send(ctx, store, out)
	<-ended
	return nil
}

// send turns changes into full sets: what changed while the receiver was busy,
// or within a burst, makes one set.
func send(ctx context.Context, store *store, out chan<- []*corev1.Pod) {
	for {
		select {
		case <-store.changed:
		case <-ctx.Done():
			return
		}
		for unsent := true; unsent; {
			select {
			case out <- store.pods():
				unsent = false
			case <-store.changed: // the set above is outdated
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-time.After(burst):
		case <-ctx.Done():
			return
		}
	}
}

func (s *Source) listerWatcher() cache.ListerWatcher {
	selector := fields.OneTermEqualSelector("spec.nodeName", s.nodeName).String()
	pods := s.client.CoreV1().Pods(metav1.NamespaceAll)
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.FieldSelector = selector
			list, err := pods.List(ctx, opts)
			if err != nil {
				s.log.Warn("listing the node's pods failed, the last known set stays in force", zap.Error(err))
				return nil, fmt.Errorf("listing the pods of node %s: %w", s.nodeName, err)
			}
			return list, nil
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.FieldSelector = selector
			w, err := pods.Watch(ctx, opts)
			if err != nil {
				return nil, fmt.Errorf("watching the pods of node %s: %w", s.nodeName, err)
			}
			return w, nil
		},
	}, s.client)
}
