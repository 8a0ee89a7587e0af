package bedtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"nodeagent.dev/nodeagent/test/bed"
)

// Board knows the pods of a bed from one watch.
type Board struct {
	patience time.Duration

	mu      sync.Mutex
	pods    map[string]*corev1.Pod
	gone    map[string]*corev1.Pod
	waiters map[*waiter]bool
}

// Sight is a pod as it was seen, and when the event arrived.
type Sight struct {
	Pod *corev1.Pod
	At  time.Time
}

// waiter is somebody who waits for a pod to be as he wants it, or to be gone.
type waiter struct {
	pod  string
	done func(p *corev1.Pod, gone bool) bool
	seen chan Sight
}

// Gone is the condition of a pod whose object is deleted, for [Board.Await].
func Gone(_ *corev1.Pod, gone bool) bool { return gone }

// Settled makes a condition for [Board.Await] of one that a pod satisfies while it
// is there.
func Settled(done func(*corev1.Pod) bool) func(*corev1.Pod, bool) bool {
	return func(p *corev1.Pod, gone bool) bool { return !gone && done(p) }
}

// WatchPods watches the pods of [Namespace] until the test ends. Nothing is waited
// for longer than patience.
func WatchPods(t testing.TB, b *bed.Bed, patience time.Duration) *Board {
	t.Helper()
	w, err := b.Client().CoreV1().Pods(Namespace).Watch(t.Context(), metav1.ListOptions{})
	Must(t, "watching pods", err)
	board := &Board{patience: patience, pods: map[string]*corev1.Pod{}, gone: map[string]*corev1.Pod{}, waiters: map[*waiter]bool{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ev := range w.ResultChan() {
			if p, ok := ev.Object.(*corev1.Pod); ok {
				board.put(p, ev.Type == watch.Deleted, time.Now())
			}
		}
	}()
	t.Cleanup(func() {
		w.Stop()
		<-ended
	})
	return board
}

func (b *Board) put(p *corev1.Pod, gone bool, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if gone {
		delete(b.pods, p.Name)
		b.gone[p.Name] = p
	} else {
		b.pods[p.Name] = p
	}
	for w := range b.waiters {
		if w.pod == p.Name && w.done(p, gone) {
			w.seen <- Sight{p, at}
			delete(b.waiters, w)
		}
	}
}

// Await waits until a pod is as wanted and returns it as it was then; names are
// used once.
func (b *Board) Await(ctx context.Context, pod, what string, done func(p *corev1.Pod, gone bool) bool) (Sight, error) {
	w := &waiter{pod, done, make(chan Sight, 1)}
	b.mu.Lock()
	if p := b.gone[pod]; p != nil && done(p, true) {
		w.seen <- Sight{p, time.Now()}
	} else if p := b.pods[pod]; p != nil && done(p, false) {
		w.seen <- Sight{p, time.Now()}
	} else {
		b.waiters[w] = true
	}
	b.mu.Unlock()
	limit := time.NewTimer(b.patience)
	defer limit.Stop()
	select {
	case s := <-w.seen:
		return s, nil
	case <-limit.C:
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiters, w)
	err := errors.New("it was never seen")
	if p := b.pods[pod]; p != nil {
		err = fmt.Errorf("its status is %s", p.Status.String())
	} else if b.gone[pod] != nil {
		err = errors.New("it is gone")
	}
	return Sight{}, fmt.Errorf("pod %s is not %s after %s: %w", pod, what, b.patience, err)
}
