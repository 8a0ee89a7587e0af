//go:build e2e

package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// board knows the pods of a bed from one watch, and when what was waited for was
// seen: the time is taken when an event arrives, not when a waiter wakes up.
type board struct {
	mu      sync.Mutex
	pods    map[string]*corev1.Pod
	drops   map[string]int // how often a pod that was ready was not any more
	waiters map[*waiter]bool
}

// waiter is somebody who waits for a pod to be as he wants it; done is asked about
// nil when its object is deleted.
type waiter struct {
	pod  string
	done func(*corev1.Pod) bool
	seen chan time.Time
}

// cheapClient is a client of its own that takes the cheapest encoding there is.
func cheapClient(t *testing.T, b *bed.Bed) kubernetes.Interface {
	t.Helper()
	config, err := b.RESTConfig()
	must(t, "the API server's address", err)
	return cheaply(t, config)
}

// cheaply makes such a client.
func cheaply(t *testing.T, config *rest.Config) kubernetes.Interface {
	t.Helper()
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	must(t, "making a client", err)
	return client
}

// watchPods watches until the test ends. The client is a cheap one, so that what is
// measured is the agent.
func watchPods(t *testing.T, b *bed.Bed) *board {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	pods := cheapClient(t, b).CoreV1().Pods(namespace)
	list, err := pods.List(ctx, metav1.ListOptions{})
	must(t, "listing pods", err)
	board := &board{pods: map[string]*corev1.Pod{}, drops: map[string]int{}, waiters: map[*waiter]bool{}}
	ended := make(chan error, 1)
	go func() { ended <- board.follow(ctx, pods, list.ResourceVersion) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("watching pods: %v", err)
		}
	})
	return board
}

// follow watches until ctx ends. The API server cuts off who does not take a burst of
// events at once; nothing is missed where the next watch begins with what was seen last.
func (b *board) follow(ctx context.Context, pods typedcorev1.PodInterface, version string) error {
	for ctx.Err() == nil {
		w, err := pods.Watch(ctx, metav1.ListOptions{ResourceVersion: version})
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("watch from version %s on: %w", version, err)
		}
		if err != nil {
			break
		}
		for ev := range w.ResultChan() {
			p, ok := ev.Object.(*corev1.Pod)
			if !ok && ctx.Err() != nil {
				return nil
			}
			if !ok {
				return fmt.Errorf("watch from version %s on: %w", version, apierrors.FromObject(ev.Object))
			}
			version = p.ResourceVersion
			b.put(p, ev.Type, time.Now())
		}
	}
	return nil
}

func (b *board) put(p *corev1.Pod, kind watch.EventType, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if before := b.pods[p.Name]; before != nil && bedtest.Ready(before) && !bedtest.Ready(p) {
		b.drops[p.Name]++
	}
	name := p.Name
	if b.pods[name] = p; kind == watch.Deleted {
		delete(b.pods, name)
		p = nil
	}
	for w := range b.waiters {
		if w.pod == name && w.done(p) {
			w.seen <- at
			delete(b.waiters, w)
		}
	}
}

// expect returns a channel that takes the time when the pod is first seen as
// wanted: now when it is already.
func (b *board) expect(pod string, done func(*corev1.Pod) bool) <-chan time.Time {
	w := &waiter{pod, func(p *corev1.Pod) bool { return p != nil && done(p) }, make(chan time.Time, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.pods[pod]; p != nil && done(p) {
		w.seen <- time.Now()
		return w.seen
	}
	b.waiters[w] = true
	return w.seen
}

// await waits until a pod is as wanted.
func (b *board) await(ctx context.Context, pod, what string, done func(*corev1.Pod) bool) error {
	if _, err := receive(ctx, b.expect(pod, done)); err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		if p := b.pods[pod]; p != nil {
			err = fmt.Errorf("%w; its status is %s", err, p.Status.String())
		}
		return fmt.Errorf("pod %s is not %s: %w", pod, what, err)
	}
	return nil
}

// names are those of the pods that are there.
func (b *board) names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.pods))
}

// dropped sums how often pods that were ready stopped being so.
func (b *board) dropped() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	sum := 0
	for _, n := range b.drops {
		sum += n
	}
	return sum
}

var errNever = errors.New("nothing came for " + patience.String())

// receive waits for a time, but not for ever.
func receive(ctx context.Context, from <-chan time.Time) (time.Time, error) {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case at := <-from:
		return at, nil
	case <-limit.C:
		return time.Time{}, errNever
	case <-ctx.Done():
		return time.Time{}, fmt.Errorf("wait: %w", context.Cause(ctx))
	}
}
