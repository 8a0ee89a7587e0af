//go:build e2e

package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

var (
	kills = flag.Int("kills", 5, "how often TestKills kills the agent")
	seed  = flag.Int64("seed", 0, "decides the moments of the kills; 0 takes another one each time")
	cycle = flag.Duration("cycle", 6*time.Second, "the least time from one pod of a kind to the next")
)

const (
	namespace = bedtest.Namespace
	// patience bounds what takes as long as the machine is slow and the agent away.
	patience = 2 * time.Minute
)

var must = bedtest.Must

// board knows the pods of a bed from one watch.
type board struct {
	mu      sync.Mutex
	pods    map[string]*corev1.Pod
	gone    map[string]*corev1.Pod
	waiters map[*waiter]bool
}

// waiter is somebody who waits for a pod to be as he wants it, or to be gone.
type waiter struct {
	pod  string
	done func(p *corev1.Pod, gone bool) bool
	seen chan *corev1.Pod
}

// watchPods watches until the test ends.
func watchPods(t *testing.T, b *bed.Bed) *board {
	t.Helper()
	w, err := b.Client().CoreV1().Pods(namespace).Watch(t.Context(), metav1.ListOptions{})
	must(t, "watching pods", err)
	board := &board{pods: map[string]*corev1.Pod{}, gone: map[string]*corev1.Pod{}, waiters: map[*waiter]bool{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ev := range w.ResultChan() {
			if p, ok := ev.Object.(*corev1.Pod); ok {
				board.put(p, ev.Type == watch.Deleted)
			}
		}
	}()
	t.Cleanup(func() {
		w.Stop()
		<-ended
	})
	return board
}

func (b *board) put(p *corev1.Pod, gone bool) {
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
			w.seen <- p
			delete(b.waiters, w)
		}
	}
}

// await waits until a pod is as wanted and returns it as it was then; names are
// used once.
func (b *board) await(ctx context.Context, pod, what string, done func(p *corev1.Pod, gone bool) bool) (*corev1.Pod, error) {
	w := &waiter{pod, done, make(chan *corev1.Pod, 1)}
	b.mu.Lock()
	if p := b.gone[pod]; p != nil && done(p, true) {
		w.seen <- p
	} else if p := b.pods[pod]; p != nil && done(p, false) {
		w.seen <- p
	} else {
		b.waiters[w] = true
	}
	b.mu.Unlock()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case p := <-w.seen:
		return p, nil
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
	return nil, fmt.Errorf("pod %s is not %s after %s: %w", pod, what, patience, err)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
