//go:build e2e

package nodeapi

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"nodeagent.dev/nodeagent/test/bed"
)

var (
	loadFor       = flag.Duration("load", 10*time.Second, "how long TestLoad keeps its streams; from a minute on there are many more")
	loadFollowers = flag.Int("followers", 0, "log followers of TestLoad; 0 means 100, or 1000 for a long one")
	loadReturn    = flag.Duration("load-return", time.Minute, "how long the agent may take to give back what TestLoad made it take")
	loadExecs     = flag.Int("execs", 0, "exec streams of TestLoad; 0 means 20, or 200 for a long one")
)

const (
	writers = 20 // pods whose logs are followed
	// A pod that starts beside the load has to be Ready by then.
	readyInTime = 20 * time.Second
	// A follower that has seen no line for so long, or an exec whose echo takes so
	// long, is stuck: there is a line every second.
	stuck = 30 * time.Second
)

// TestLoad: many followers of logs and many exec streams, kept for a while. Each
// follower sees every line once and in order, each exec its echo; pods become
// Ready meanwhile; and afterwards the agent has given back what it took.
func TestLoad(t *testing.T) {
	b := cluster(t)
	followers, execs := loadSize(t, b)
	pods := make([]string, writers)
	for i := range pods {
		pods[i] = fmt.Sprintf("writer-%02d", i)
		create(t, b, newPod(pods[i], "i=0; while :; do i=$((i+1)); echo $i; sleep 1; done"))
	}
	for _, p := range pods {
		await(t, b, p, "ready", ready)
	}
	l := &load{b: b}
	l.run(t, pods, 2, 2, time.Second, nil) // what is made once is made now
	idle := l.podsBecomeReady(t, 3*time.Second, "idle")
	before, err := measure(t.Context(), b)
	must(t, "measuring the agent", err)
	t.Logf("before: %s; pods Ready after %s", before, summary(idle))

	var during []figures
	var loaded []time.Duration
	began := time.Now()
	l.run(t, pods, followers, execs, *loadFor, func() {
		t.Logf("%d followers and %d execs opened in %s", followers, execs, time.Since(began).Round(time.Millisecond))
		stop := sampled(t, b, &during)
		loaded = l.podsBecomeReady(t, *loadFor, "loaded")
		stop()
	})
	t.Logf("%d lines followed, %d echoes, %s", l.lines.Load(), l.echoes.Load(), *loadFor)
	t.Logf("during: %s; pods Ready after %s", highest(during), summary(loaded))
	if slowest := slices.Max(loaded); slowest > readyInTime {
		t.Errorf("a pod became Ready after %s, want %s at most", slowest, readyInTime)
	}
	awaitReturn(t, b, before)
	l.report(t)
}

// loadSize says how many streams there are.
func loadSize(t *testing.T, b *bed.Bed) (int, int) {
	t.Helper()
	followers, execs := 100, 20
	if *loadFor >= time.Minute {
		followers, execs = 1000, 200
	}
	if *loadFollowers > 0 {
		followers = *loadFollowers
	}
	if *loadExecs > 0 {
		execs = *loadExecs
	}
	if b.Agent() == bed.Kubelet {
		text, err := os.ReadFile("/proc/sys/fs/inotify/max_user_instances")
		must(t, "reading the limit of inotify", err)
		limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
		must(t, "reading the limit of inotify", err)
		if followers > limit/2 {
			t.Skipf("nodeagent only: the kubelet takes an inotify instance for each of %d followers, and "+
				"fs.inotify.max_user_instances allows all processes of its user %d; try -args -followers=30", followers, limit)
		}
	}
	return followers, execs
}

// load is a number of streams and what went wrong with them.
type load struct {
	b             *bed.Bed
	lines, echoes atomic.Int64

	mu       sync.Mutex
	failures []string
}

func (l *load) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, fmt.Sprintf(format, args...))
}

func (l *load) report(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.failures); n > 0 {
		t.Errorf("%d streams failed; the first: %s", n, strings.Join(l.failures[:min(n, 5)], "; "))
	}
}

// run opens the streams, and when all are open calls do; it ends the streams
// after that, but not before the time has passed.
func (l *load) run(t *testing.T, pods []string, followers, execs int, d time.Duration, do func()) {
	t.Helper()
	config, err := l.b.RESTConfig()
	must(t, "the API server's address", err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var open, follows, talks sync.WaitGroup
	slots := make(chan struct{}, 16) // streams that are being opened
	spawn := func(kind *sync.WaitGroup, stream func(opened func())) {
		slots <- struct{}{}
		open.Add(1)
		opened := sync.OnceFunc(func() {
			<-slots
			open.Done()
		})
		kind.Go(func() {
			defer opened()
			stream(opened)
		})
	}
	for i := range followers {
		spawn(&follows, func(opened func()) { l.follow(ctx, pods[i%len(pods)], opened) })
	}
	stop := make(chan struct{})
	for i := range execs {
		spawn(&talks, func(opened func()) { l.talk(ctx, config, pods[i%len(pods)], i%2 == 0, opened, stop) })
	}
	open.Wait()
	end := time.After(d)
	if do != nil {
		do()
	}
	<-end
	close(stop)
	talks.Wait() // each ends by itself, or because it is stuck
	cancel()
	follows.Wait()
}

// follow reads a log until the context ends and checks that its numbers rise one
// by one.
func (l *load) follow(ctx context.Context, pod string, opened func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stuck, func() { cancel(errStuck) })
	defer watch.Stop()
	one := int64(1)
	stream, err := l.b.Client().CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Follow: true, TailLines: &one}).Stream(ctx)
	if err != nil {
		l.fail("following %s: %v", pod, err)
		return
	}
	defer stream.Close()
	last, lines := -1, bufio.NewScanner(stream)
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil || last >= 0 && n != last+1 {
			l.fail("following %s: after %d came %q", pod, last, lines.Text())
			return
		}
		last = n
		opened()
		watch.Reset(stuck)
		l.lines.Add(1)
	}
	if cause := context.Cause(ctx); cause == nil || errors.Is(cause, errStuck) {
		l.fail("following %s: after line %d: ended by %v, %v", pod, last, cause, lines.Err())
	}
}

// talk sends a line a second to a cat in a container and waits for it to come
// back, until it is told to stop; then it ends the input, and cat ends.
func (l *load) talk(ctx context.Context, config *rest.Config, pod string, websocket bool, opened func(), stop <-chan struct{}) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stuck, func() { cancel(errStuck) })
	defer watch.Stop()
	url := l.b.Client().CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"cat"}, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	executor, err := remotecommand.NewSPDYExecutor(config, "POST", url)
	if websocket {
		executor, err = remotecommand.NewWebSocketExecutor(config, "GET", url.String())
	}
	if err != nil {
		l.fail("preparing an exec in %s: %v", pod, err)
		return
	}
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out, Stderr: io.Discard})
		_, _ = in.Close(), out.Close() // wakes whoever waits below
		ended <- err
	}()
	lines := bufio.NewScanner(stdout)
	for n, more := 1, true; more; n++ {
		_, err := fmt.Fprintln(stdin, n)
		if err != nil || !lines.Scan() || lines.Text() != strconv.Itoa(n) {
			l.fail("exec in %s: line %d did not come back, but %q: %v", pod, n, lines.Text(), context.Cause(ctx))
			break
		}
		opened()
		watch.Reset(stuck)
		l.echoes.Add(1)
		select {
		case <-stop:
			more = false
		case <-time.After(time.Second):
		}
	}
	_ = stdin.Close()
	if err := <-ended; err != nil {
		l.fail("exec in %s: %v, %v", pod, err, context.Cause(ctx))
	}
}

// errStuck ends a stream on which nothing happens.
var errStuck = errors.New("nothing came for " + stuck.String())

// podsBecomeReady makes and deletes a pod now and then for a while, at least one,
// and returns how long each took to be Ready.
func (l *load) podsBecomeReady(t *testing.T, d time.Duration, name string) []time.Duration {
	t.Helper()
	var took []time.Duration
	for end := time.Now().Add(d); len(took) == 0 || time.Now().Before(end); {
		p := newPod(fmt.Sprintf("%s-%d", name, len(took)), obeys)
		began := time.Now()
		started(t, l.b, p)
		took = append(took, time.Since(began))
		must(t, "deleting a pod", l.b.Client().CoreV1().Pods(namespace).Delete(t.Context(), p.Name, metav1.DeleteOptions{}))
		select {
		case <-t.Context().Done():
		case <-time.After(2 * time.Second):
		}
	}
	return took
}
