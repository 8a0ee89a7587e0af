//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"nodeagent.dev/nodeagent/test/bed"
)

var (
	apiOutage     = flag.Duration("api-outage", 15*time.Second, "how long TestAPIServerOutage keeps the API server away")
	runtimeOutage = flag.Duration("runtime-outage", 30*time.Second, "how long TestRuntimeOutage keeps containerd away")
)

const (
	image     = "docker.io/library/busybox:1.37"
	namespace = "default"
)

// shared is the bed that most tests use, each with pods of its own.
var shared struct {
	once sync.Once
	bed  *bed.Bed
	err  error
}

func TestMain(m *testing.M) {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	disarm := context.AfterFunc(ctx, func() { os.Exit(1) }) // the bed's keeper cleans up
	code := m.Run()
	disarm() // stop ends ctx, too
	stop()
	if shared.bed != nil {
		if err := shared.bed.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "closing the bed:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// cluster returns the shared bed; on failure of the test the agent's log is
// shown.
func cluster(t *testing.T) *bed.Bed {
	t.Helper()
	shared.once.Do(func() {
		shared.bed, shared.err = bed.New(context.Background(), bed.Options{Output: os.Stderr})
	})
	if shared.err != nil {
		t.Fatalf("no bed: %v", shared.err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent's log (end):\n%s", tail(shared.bed.Component("agent").Log(), 12000))
		}
	})
	return shared.bed
}

func tail(s string, n int) string {
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return s
}

// nodeagentOnly leaves a test out that is about what the kubelet has not.
func nodeagentOnly(t *testing.T, b *bed.Bed) {
	t.Helper()
	if b.Agent() != bed.Nodeagent {
		t.Skipf("only nodeagent has this; the agent is %s", b.Agent())
	}
}

// newPod returns a pod with one busybox container for each command.
func newPod(name string, commands ...string) *corev1.Pod {
	no, grace := false, int64(2)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"app": name}}}
	p.Spec.AutomountServiceAccountToken, p.Spec.TerminationGracePeriodSeconds = &no, &grace
	for i, c := range commands {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name: string(rune('a' + i)), Image: image, Command: []string{"sh", "-c", c}})
	}
	return p
}

// Commands for containers.
const (
	obeys   = "trap exit TERM; while :; do sleep 1 & wait $!; done"
	ignores = "trap '' TERM; while :; do sleep 1; done"
)

// create makes a pod and deletes it at the end of the test.
func create(t *testing.T, b *bed.Bed, p *corev1.Pod) *corev1.Pod {
	t.Helper()
	pods := b.Client().CoreV1().Pods(namespace)
	got, err := pods.Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("creating pod %s: %v", p.Name, err)
	}
	t.Cleanup(func() {
		now := int64(0)
		_ = pods.Delete(context.Background(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	})
	return got
}

// await watches a pod until done says so, and returns it as it was then.
func await(t *testing.T, client kubernetes.Interface, name, what string, limit time.Duration, done func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var last *corev1.Pod
	for ctx.Err() == nil {
		w, err := client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond): // the API server is away
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

// gone waits until the pod's object is deleted and returns when that was seen.
func gone(t *testing.T, client kubernetes.Interface, p *corev1.Pod, limit time.Duration) time.Time {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w, err := client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + p.Name})
	if err != nil {
		t.Fatalf("watching pod %s: %v", p.Name, err)
	}
	defer w.Stop()
	for ev := range w.ResultChan() {
		if ev.Type == watch.Deleted {
			return time.Now()
		}
	}
	t.Fatalf("pod %s is not gone after %s", p.Name, limit)
	return time.Time{}
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// restarts returns the restart count of the first container.
func restarts(p *corev1.Pod) int32 {
	if len(p.Status.ContainerStatuses) == 0 {
		return 0
	}
	return p.Status.ContainerStatuses[0].RestartCount
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
