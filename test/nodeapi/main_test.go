//go:build e2e

package nodeapi

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"nodeagent.dev/nodeagent/test/bed"
)

const (
	image     = "docker.io/library/busybox:1.37"
	namespace = "default"

	// promptly is how soon something has to be seen that just happened.
	promptly = 5 * time.Second
	// patience bounds what takes as long as the machine is slow.
	patience = 60 * time.Second
)

// Commands for containers.
const (
	obeys = "trap exit TERM; while :; do sleep 1 & wait $!; done"
	// whenTold ends the container once the file exists.
	whenTold = "while [ ! -e /tmp/go ]; do sleep 0.1; done; "
)

// shared is the bed that all tests use, each with pods of its own.
var shared struct {
	once sync.Once
	bed  *bed.Bed
	err  error
}

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("4") // the tests wait more than they compute
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	disarm := context.AfterFunc(ctx, func() { os.Exit(1) }) // the bed's keeper cleans up
	code := m.Run()
	disarm()
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
// shown. Logs are not rotated by the agent: the tests do it themselves.
func cluster(t *testing.T) *bed.Bed {
	t.Helper()
	shared.once.Do(func() {
		shared.bed, shared.err = bed.New(context.Background(), bed.Options{
			Output: os.Stderr, KubeletConfig: func(config map[string]any) { config["containerLogMaxSize"] = "1Gi" },
		})
	})
	if shared.err != nil {
		t.Fatalf("no bed: %v", shared.err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent's log (end):\n%s", tail(shared.bed.Component("agent").Log(), 6000))
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

// newPod returns a pod with one busybox container for each command: a, b, c.
func newPod(name string, commands ...string) *corev1.Pod {
	no, grace := false, int64(1)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"app": name}}}
	p.Spec.AutomountServiceAccountToken, p.Spec.TerminationGracePeriodSeconds = &no, &grace
	for i, c := range commands {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name: string(rune('a' + i)), Image: image, Command: []string{"sh", "-c", c},
		})
	}
	return p
}

// once is a pod whose containers are not restarted.
func once(p *corev1.Pod) *corev1.Pod {
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	return p
}

// create makes a pod and deletes it at the end of the test.
func create(t *testing.T, b *bed.Bed, p *corev1.Pod) *corev1.Pod {
	t.Helper()
	pods := b.Client().CoreV1().Pods(namespace)
	got, err := pods.Create(t.Context(), p, metav1.CreateOptions{})
	must(t, "creating pod "+p.Name, err)
	t.Cleanup(func() {
		now := int64(0)
		_ = pods.Delete(context.Background(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	})
	return got
}

// started makes a pod and returns it when all its containers run.
func started(t *testing.T, b *bed.Bed, p *corev1.Pod) *corev1.Pod {
	t.Helper()
	create(t, b, p)
	return await(t, b, p.Name, "ready", ready)
}

// await watches a pod until done says so, and returns it as it was then.
func await(t *testing.T, b *bed.Bed, name, what string, done func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last *corev1.Pod
	for ctx.Err() == nil {
		w, err := b.Client().CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		must(t, "watching pod "+name, err)
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
	t.Fatalf("pod %s is not %s after %s; last seen: %+v", name, what, patience, last)
	return nil
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// status returns the status of a container of a pod.
func status(p *corev1.Pod, container string) corev1.ContainerStatus {
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == container {
			return c
		}
	}
	return corev1.ContainerStatus{}
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// same compares texts and shows where long ones differ.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	from := max(0, at-40)
	cut := func(s string) string { return s[min(from, len(s)):min(at+200, len(s))] }
	t.Errorf("%s: %d bytes, want %d; from byte %d on they are\n%q, want\n%q", what, len(got), len(want), from, cut(got), cut(want))
}

// matches checks a text against a pattern.
func matches(t *testing.T, what, got, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(got) {
		t.Errorf("%s: %q, want what matches %q", what, got, pattern)
	}
}
