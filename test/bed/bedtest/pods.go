package bedtest

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"nodeagent.dev/nodeagent/test/bed"
)

// What pods of tests are made of, and where.
const (
	Image     = "docker.io/library/busybox:1.37"
	Namespace = "default"
)

// Commands for containers.
const (
	Obeys   = "trap exit TERM; while :; do sleep 1 & wait $!; done"
	Ignores = "trap '' TERM; while :; do sleep 1; done"
)

// retry is how long to wait for an API server that is away.
const retry = 100 * time.Millisecond

// NewPod returns a pod with one busybox container for each command: a, b, c. It
// has the seconds of grace.
func NewPod(name string, grace int64, commands ...string) *corev1.Pod {
	no := false
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: Namespace, Labels: map[string]string{"app": name}}}
	p.Spec.AutomountServiceAccountToken, p.Spec.TerminationGracePeriodSeconds = &no, &grace
	for i, c := range commands {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name: string(rune('a' + i)), Image: Image, Command: []string{"sh", "-c", c}})
	}
	return p
}

// Create makes a pod and deletes it at the end of the test.
func Create(t testing.TB, b *bed.Bed, p *corev1.Pod) *corev1.Pod {
	t.Helper()
	pods := b.Client().CoreV1().Pods(Namespace)
	got, err := pods.Create(t.Context(), p, metav1.CreateOptions{})
	Must(t, "creating pod "+p.Name, err)
	t.Cleanup(func() {
		now := int64(0)
		_ = pods.Delete(context.Background(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	})
	return got
}

// Await watches a pod until done says so, and returns it as it was then. The API
// server may be away for a while.
func Await(t testing.TB, client kubernetes.Interface, name, what string, limit time.Duration, done func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var last *corev1.Pod
	for ctx.Err() == nil {
		w, err := client.CoreV1().Pods(Namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(retry):
			}
			continue
		}
		for ev := range w.ResultChan() {
			p, ok := ev.Object.(*corev1.Pod)
			if !ok {
				break
			}
			last = p
			if ev.Type != watch.Deleted && done(p) {
				w.Stop()
				return p
			}
		}
		w.Stop()
	}
	t.Fatalf("pod %s is not %s after %s; last seen: %+v", name, what, limit, last)
	return nil
}

// Ready reports whether a pod is ready.
func Ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
