//go:build e2e

package certificates

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// counting writes a number ten times a second.
const counting = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done"

// life is what of a container changes when it is started again.
type life struct {
	id       string
	started  time.Time
	restarts int32
}

func lifeOf(p *corev1.Pod) life {
	s := p.Status.ContainerStatuses[0]
	l := life{id: s.ContainerID, restarts: s.RestartCount}
	if s.State.Running != nil {
		l.started = s.State.Running.StartedAt.Time
	}
	return l
}

// workload starts a pod, and returns what checks that nobody has touched it.
func (a *agent) workload(t *testing.T, name string) (untouched func(t *testing.T)) {
	t.Helper()
	bedtest.Create(t, a.Bed, bedtest.NewPod(name, 1, counting))
	before := lifeOf(bedtest.Await(t, a.Client(), name, "ready", patience, bedtest.Ready))
	return func(t *testing.T) {
		t.Helper()
		p, err := a.Client().CoreV1().Pods(bedtest.Namespace).Get(t.Context(), name, metav1.GetOptions{})
		bedtest.Must(t, "getting the pod", err)
		if after := lifeOf(p); after != before {
			t.Errorf("the container was %+v and is %+v", before, after)
		}
	}
}

// rotated waits for another certificate on the disk.
func (a *agent) rotated(t *testing.T, limit time.Duration) {
	t.Helper()
	before, _ := os.Readlink(a.pem())
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); ; <-tick.C {
		if now, err := os.Readlink(a.pem()); err == nil && now != before {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the certificate has not been renewed within %s", limit)
		}
	}
}

// Users of logs and exec, and everything the agent does for pods, do not notice
// that certificates are renewed every minute or so.
func TestRotation(t *testing.T) {
	a := setUp(t, nil)
	a.bootstrapKubeconfig(t, "cccccc")
	a.start(t)
	a.ready(t)
	untouched := a.workload(t, "rotation")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var users sync.WaitGroup
	var lines, execs atomic.Int64
	users.Go(func() { a.follow(ctx, t, "rotation", &lines) })
	users.Go(func() {
		for ctx.Err() == nil {
			out, err := a.Kubectl(ctx, "exec", "rotation", "--", "echo", "hello")
			if ctx.Err() == nil && (err != nil || out != "hello\n") {
				t.Errorf("exec: %q, %v", out, err)
			}
			execs.Add(1)
			bedtest.Pause(ctx, 200*time.Millisecond)
		}
	})
	for range *rotations {
		a.rotated(t, 3*time.Minute)
		at := time.Now()
		// The new certificate works, for what is asked and for what is watched.
		a.heard(t)
		name := fmt.Sprintf("after-%d", at.Unix())
		bedtest.Create(t, a.Bed, bedtest.NewPod(name, 1, bedtest.Obeys))
		bedtest.Await(t, a.Client(), name, "ready", patience, bedtest.Ready)
		t.Logf("a rotation; %s later a pod is ready; %d lines and %d execs so far", time.Since(at).Round(time.Millisecond), lines.Load(), execs.Load())
	}
	stop()
	users.Wait()
	untouched(t)
	if lines.Load() == 0 || execs.Load() == 0 {
		t.Errorf("%d lines and %d execs", lines.Load(), execs.Load())
	}
	if agentName() == bed.Nodeagent {
		for _, text := range []string{"connection lost", "context canceled", "Unauthorized"} {
			if strings.Contains(a.said(), text) {
				t.Errorf("the agent's log speaks of %q: a call was in the way of a rotation", text)
			}
		}
	}
}

// follow reads a counting log until ctx ends. No line may be missing, and the
// stream may not end.
func (a *agent) follow(ctx context.Context, t *testing.T, pod string, lines *atomic.Int64) {
	stream, err := a.Client().CoreV1().Pods(bedtest.Namespace).GetLogs(pod, &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		t.Errorf("following the log: %v", err)
		return
	}
	defer stream.Close()
	text := bufio.NewScanner(stream)
	for n := int64(0); text.Scan(); n++ {
		if text.Text() != fmt.Sprint(n) {
			t.Errorf("line %d is %q", n, text.Text())
			return
		}
		lines.Store(n + 1)
	}
	if ctx.Err() == nil {
		t.Errorf("the log has ended after %d lines: %v", lines.Load(), text.Err())
	}
}
