//go:build volumeload

package volumes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
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

const (
	steadyPods = 3
	atOnce     = 6
	// runsFor is the longest that the agent lives between two kills.
	runsFor = 8 * time.Second
	// ownVolume is each how manieth pod that has a volume made for it.
	ownVolume = 5
	shown     = 30
)

// cycling is the run of BenchmarkCycles.
type cycling struct {
	*furnished
	next  atomic.Int64
	lives atomic.Int64
	// broken counts pods whose container the runtime broke off because the agent that
	// had asked for it was gone.
	broken atomic.Int64

	mu       sync.Mutex
	problems []string
}

func (c *cycling) problem(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// BenchmarkCycles: pods with volumes of every type are made and deleted while the
// agent is killed at random. Nothing is left of them, and nothing of the pods that
// stay is touched.
func BenchmarkCycles(bench *testing.B) {
	if *seed == 0 {
		*seed = time.Now().UnixNano()
	}
	b := bed.Start(bench, bed.Options{})
	bench.Logf("%s, -seed=%d, load %s", b.Agent(), *seed, load())
	s := newSite(bench, b, "cycles")
	c := &cycling{furnished: furnish(s)}
	before, err := bedtest.Inventory(bench.Context(), b)
	must(bench, "looking at the machine", err)
	steady := c.steadyPods()
	users := fingerprint(bench, c.kept)
	mounts, files := c.state(steady)

	began := time.Now()
	var all sync.WaitGroup
	killed := make(chan struct{})
	for range atOnce {
		all.Go(func() { c.live(bench.Context(), killed) })
	}
	done, err := bedtest.Kill(bench.Context(), b, *kills, runsFor, rand.New(rand.NewPCG(uint64(*seed), 2)))
	close(killed)
	all.Wait()
	must(bench, "killing the agent", err)
	bench.Logf("%d pods in %s, %d kills and %d more during a start; %d pods ended by the runtime, since the agent that started them was gone",
		c.lives.Load(), time.Since(began).Round(time.Second), len(done.Starts), done.Early, c.broken.Load())

	c.compare(steady, mounts, files)
	for path, is := range fingerprint(bench, c.kept) {
		if users[path] != is {
			c.problem("what users keep was touched: %s is %q, was %q", path, is, users[path])
		}
	}
	for _, p := range steady {
		c.end(p)
	}
	left, err := bedtest.Leaks(bench.Context(), b, before, bedtest.LeakLimit(b))
	must(bench, "looking for what is left", err)
	agents, runtimes, err := bedtest.Blame(bench.Context(), b, before, left)
	must(bench, "looking at what is left", err)
	if len(runtimes) > 0 {
		bench.Logf("left by the runtime, not judged: %d\n%s", len(runtimes), strings.Join(runtimes[:min(shown, len(runtimes))], "\n"))
	}
	if points, err := mountPoints(filepath.Join(b.RootDir, "pods")); err != nil || len(points) > 0 {
		c.problem("mounts of pods are left: %q (%v)", points, err)
	}
	for _, item := range agents {
		c.problem("left: %s", item)
	}
	bench.ReportMetric(0, "ns/op")
	bench.ReportMetric(float64(c.lives.Load()), "pods")
	bench.ReportMetric(float64(len(done.Starts)+done.Early), "kills")
	bench.ReportMetric(float64(len(agents)), "left")
	bench.ReportMetric(float64(len(c.problems)), "problems")
	if len(c.problems) > 0 {
		c.weak("%d problems; the first:\n%s", len(c.problems), strings.Join(c.problems[:min(shown, len(c.problems))], "\n"))
	}
}

// steadyPods live through everything.
func (c *cycling) steadyPods() []*corev1.Pod {
	var pods []*corev1.Pod
	for i := range steadyPods {
		name := fmt.Sprint("steady-", i)
		pods = append(pods, c.start(c.everything(name, ": > /x/"+name+"; "+bedtest.Obeys)))
		c.exists(name) // all that it writes is there
	}
	return pods
}

// generation is the form of the names of what ..data leads to. An agent that has
// been killed asks for new tokens, as the kubelet does, so there may be another one.
var generation = regexp.MustCompile(`\.\.\d{4}(_\d\d){5}\.\d+`)

// state is what is mounted and what lies in the folders of pods, but for tokens.
func (c *cycling) state(pods []*corev1.Pod) (mounts map[string][]string, files map[string]map[string]string) {
	mounts, files = map[string][]string{}, map[string]map[string]string{}
	for _, p := range pods {
		mounts[p.Name], files[p.Name] = mountsOf(c.t, c.site, p), map[string]string{}
		for path, is := range fingerprint(c.t, c.podDir(p)) {
			if filepath.Base(path) == "token" {
				is = is[:strings.LastIndex(is, " ")]
			}
			files[p.Name][generation.ReplaceAllString(path, "..TIME")] = generation.ReplaceAllString(is, "..TIME")
		}
	}
	return mounts, files
}

// compare checks that the pods that stay are as they were.
func (c *cycling) compare(pods []*corev1.Pod, mounts map[string][]string, files map[string]map[string]string) {
	nowMounts, nowFiles := c.state(pods)
	for _, was := range pods {
		if !slices.Equal(mounts[was.Name], nowMounts[was.Name]) {
			c.problem("pod %s has other mounts:\n%s\nbefore\n%s", was.Name, strings.Join(nowMounts[was.Name], "\n"), strings.Join(mounts[was.Name], "\n"))
		}
		for path, is := range nowFiles[was.Name] {
			if before := files[was.Name][path]; before != is {
				c.problem("of pod %s %s is %q, was %q", was.Name, path, is, before)
			}
		}
		for path := range files[was.Name] {
			if nowFiles[was.Name][path] == "" {
				c.problem("of pod %s %s is gone", was.Name, path)
			}
		}
		now, err := c.b.Client().CoreV1().Pods(namespace).Get(c.t.Context(), was.Name, metav1.GetOptions{})
		if err != nil || now.Status.ContainerStatuses[0].ContainerID != was.Status.ContainerStatuses[0].ContainerID {
			c.problem("pod %s is not the one that was started: %v", was.Name, err)
		}
	}
}

// live makes and deletes pods, one after the other, until there were enough of them
// and the last kill is over.
func (c *cycling) live(ctx context.Context, killed <-chan struct{}) {
	for ctx.Err() == nil {
		n := int(c.next.Add(1))
		if n > *cycles {
			select {
			case <-killed:
				return
			default:
			}
		}
		if err := c.life(ctx, n); err != nil {
			c.problem("%v", err)
		}
		c.lives.Add(1)
	}
}

// life leads one pod through its life. Some are deleted before they run.
func (c *cycling) life(ctx context.Context, n int) error {
	p := c.everything(fmt.Sprint("pod-", n), bedtest.Obeys)
	pods := c.b.Client().CoreV1().Pods(namespace)
	if n%ownVolume == 0 {
		if err := c.ephemeral(ctx, p); err != nil {
			return err
		}
		defer func() {
			_ = c.b.Client().CoreV1().PersistentVolumes().Delete(context.WithoutCancel(ctx), p.Name, metav1.DeleteOptions{})
		}()
	}
	if _, err := pods.Create(ctx, p, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create pod %s: %w", p.Name, err)
	}
	if n%7 == 0 {
		bedtest.Pause(ctx, rand.N(time.Second))
	} else if err := c.ran(ctx, p); err != nil {
		return err
	}
	if err := pods.Delete(ctx, p.Name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete pod %s: %w", p.Name, err)
	}
	_, err := c.board.Await(ctx, p.Name, "gone", bedtest.Gone)
	return err
}

// ran waits until a pod runs and has found its volumes as they have to be.
func (c *cycling) ran(ctx context.Context, p *corev1.Pod) error {
	seen, err := c.board.Await(ctx, p.Name, "ready", bedtest.Settled(func(p *corev1.Pod) bool { return bedtest.Ready(p) || finished(p) }))
	if err != nil {
		return err
	}
	if bedtest.Ready(seen.Pod) {
		return nil
	}
	for _, s := range slices.Concat(seen.Pod.Status.InitContainerStatuses, seen.Pod.Status.ContainerStatuses) {
		if e := s.State.Terminated; e != nil && e.Reason == "StartError" {
			c.broken.Add(1)
			return nil
		}
	}
	return fmt.Errorf("pod %s has failed: %s", p.Name, seen.Pod.Status.String())
}
