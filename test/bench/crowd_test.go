//go:build e2e

package bench

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	// Probes have the default period.
	crowdPeriod = 10
	// idleAfter is how long the crowd is left alone before it is measured, idleFor
	// how long it is measured.
	idleAfter, idleFor = 20 * time.Second, time.Minute
)

// crowdSize is how many pods start at once.
func crowdSize() int {
	switch {
	case *crowded > 0:
		return *crowded
	case *compare:
		return 100
	}
	return 20
}

// calls answers the probes of the crowd, and tells when each has been asked.
type calls struct {
	mu      sync.Mutex
	missing map[string]bool
	all     chan time.Time
}

// ServeHTTP says that all is well.
func (c *calls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.asked(r.URL.Path)
	w.WriteHeader(http.StatusOK)
}

// asked notes that a probe is being asked.
func (c *calls) asked(path string) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.missing[path] {
		return
	}
	if delete(c.missing, path); len(c.missing) == 0 {
		c.all <- now
	}
}

// expect returns a channel for the time when each of the probes has been asked.
func (c *calls) expect(paths []string) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missing, c.all = map[string]bool{}, make(chan time.Time, 1)
	for _, path := range paths {
		c.missing[path] = true
	}
	return c.all
}

// crowd measures many pods with two HTTP probes each: their start, what they cost
// when nothing happens, an agent that is started anew, and their end.
func crowd(t *testing.T, s *site) {
	t.Helper()
	s.clear(t)
	probes := &calls{}
	port := serve(t, probes)
	var pods []*corev1.Pod
	var paths []string
	var ready, gone []<-chan time.Time
	for i := range crowdSize() {
		p := plainPod(fmt.Sprintf("crowd-%d", i))
		c := &p.Spec.Containers[0]
		c.ReadinessProbe, c.LivenessProbe = httpProbe(port, "/ready/"+p.Name), httpProbe(port, "/live/"+p.Name)
		c.ReadinessProbe.PeriodSeconds, c.LivenessProbe.PeriodSeconds = crowdPeriod, crowdPeriod
		paths = append(paths, "/ready/"+p.Name, "/live/"+p.Name)
		pods = append(pods, p)
		ready = append(ready, s.board.expect(p.Name, bedtest.Ready))
	}
	began := time.Now()
	must(t, "many pods at once", create(t.Context(), s.Bed, pods...))
	s.arrivals(figAllReady, lineReady, began, arrived(t, "ready", ready))

	pause(t.Context(), idleAfter)
	s.idle(t)
	s.restart(t, probes, paths)

	for _, p := range pods {
		gone = append(gone, s.board.expectGone(p.Name))
	}
	began = time.Now()
	s.deleteAll(t)
	s.arrivals(figAllGone, lineGone, began, arrived(t, "gone", gone))
}

// clear ends what other parts have left, and what the kernel keeps of it: the floor
// has nothing but the crowd either.
func (s *site) clear(t *testing.T) {
	t.Helper()
	var gone []<-chan time.Time
	for _, name := range s.board.names() {
		gone = append(gone, s.board.expectGone(name))
	}
	s.deleteAll(t)
	arrived(t, "gone", gone)
}

// arrived waits for all and returns when each was seen.
func arrived(t *testing.T, what string, all []<-chan time.Time) []time.Time {
	t.Helper()
	var seen []time.Time
	for i, one := range all {
		at, err := receive(t.Context(), one)
		must(t, fmt.Sprintf("waiting until pod %d of %d is %s", i, len(all), what), err)
		seen = append(seen, at)
	}
	return seen
}

// arrivals adds a line of a picture, and its last point as a figure.
func (s *site) arrivals(figure, line string, began time.Time, all []time.Time) {
	for _, at := range all {
		s.add(line, millisOf(at.Sub(began)))
	}
	s.add(figure, millisOf(slices.MaxFunc(all, time.Time.Compare).Sub(began)))
}

// idle measures what the agent and the runtime take when nothing happens.
func (s *site) idle(t *testing.T) {
	t.Helper()
	before, err := measure(t.Context(), s.Bed)
	must(t, "measuring the agent", err)
	began := time.Now()
	pause(t.Context(), idleFor)
	after, err := measure(t.Context(), s.Bed)
	must(t, "measuring the agent", err)
	took := time.Since(began)
	s.add(figIdle, millicores(after.agent-before.agent, took))
	s.add(figIdleCRI, millicores(after.runtime-before.runtime, took))
	pid, err := s.Component("agent").PID(t.Context())
	must(t, "finding the agent", err)
	for figure, line := range map[string]string{figRSS: "VmRSS", figAnon: "RssAnon"} {
		kib, err := memory(pid, line)
		must(t, "measuring the agent", err)
		s.add(figure, float64(kib)/(1<<10))
	}
}

// restart kills the agent and starts it again: until each probe has been asked, and
// what it writes although nothing has changed.
func (s *site) restart(t *testing.T, probes *calls, paths []string) {
	t.Helper()
	agent, dropped, written := s.Component("agent"), s.board.dropped(), statusWrites(t, s)
	must(t, "killing the agent", agent.Kill(t.Context()))
	asked := probes.expect(paths)
	began := time.Now()
	must(t, "starting the agent again", agent.Start(t.Context()))
	at, err := receive(t.Context(), asked)
	must(t, "waiting for the probes after a start", err)
	s.add(figRestart, millisOf(at.Sub(began)))
	// The log of requests is written in batches, and the kubelet writes late.
	pause(t.Context(), auditBatch)
	s.add(figRewritten, float64(statusWrites(t, s)-written))
	if now := s.board.dropped(); now != dropped && s.Agent() == bed.Nodeagent {
		t.Errorf("%d pods were not ready for a while because the agent was started anew", now-dropped)
	}
}

// auditBatch is longer than kube-apiserver keeps what it will write to its audit log.
const auditBatch = 35 * time.Second
