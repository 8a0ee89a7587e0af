//go:build e2e

package bench

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// counter answers every HTTP probe and counts them.
type counter struct {
	mu    sync.Mutex
	seen  map[string]int
	last  map[string]time.Time
	worst map[string]time.Duration // the longest time between two
}

func newCounter() *counter {
	return &counter{seen: map[string]int{}, last: map[string]time.Time{}, worst: map[string]time.Duration{}}
}

// ServeHTTP says that all is well.
func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now, name := time.Now(), strings.TrimPrefix(r.URL.Path, "/")
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.last[name]; ok {
		c.worst[name] = max(c.worst[name], now.Sub(last))
	}
	c.last[name] = now
	c.seen[name]++
	w.WriteHeader(http.StatusOK)
}

// start forgets all and counts from now on.
func (c *counter) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.seen)
	clear(c.worst)
}

// counts returns how often each probe was seen, those in names only, and the
// longest time between two of one probe.
func (c *counter) counts(names []string) (map[string]int, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all, worst := map[string]int{}, time.Duration(0)
	for _, name := range names {
		all[name] = c.seen[name]
		worst = max(worst, c.worst[name])
	}
	return all, worst
}

// fileCounts returns the sizes of the files to which exec probes add a byte each.
func fileCounts(t *testing.T, dir string, names []string) map[string]int {
	t.Helper()
	all := map[string]int{}
	for _, name := range names {
		info, err := os.Stat(filepath.Join(dir, name))
		if os.IsNotExist(err) {
			continue
		}
		must(t, "counting exec probes", err)
		all[name] = int(info.Size())
	}
	return all
}

// tally compares the probes of one kind that were seen with those that were due.
type tally struct {
	seen, due int
	// short are the probes that were seen fewer times than due, but for one at
	// either end; missing is what they lack.
	short, missing int
	least          int // of one probe
}

// tallied takes how often each probe was seen by the end and before the start.
func tallied(names []string, after, before map[string]int, d, period time.Duration) tally {
	due := int(d / period)
	x := tally{due: due * len(names), least: due + 1}
	allowed := 1 + due/100
	for _, name := range names {
		n := after[name] - before[name]
		x.seen += n
		x.least = min(x.least, n)
		if lack := due - n; lack > allowed {
			x.short++
			x.missing += lack
		}
	}
	return x
}

func (x tally) String() string {
	return fmt.Sprintf("%d of %d (%.1f%%)", x.seen, x.due, 100*float64(x.seen)/float64(max(x.due, 1)))
}

// probedPods makes the pods: each container has an HTTP probe for readiness and
// an exec probe for liveness. It returns the containers' names, too.
func probedPods(containers, port int, dir string, execPeriod, timeout time.Duration) (pods []*corev1.Pod, names []string) {
	for len(names) < containers {
		p := bedtest.NewPod(fmt.Sprintf("probed-%02d", len(pods)), 0)
		for i := range min(*perPod, containers-len(names)) {
			name := fmt.Sprintf("%s-c%d", p.Name, i)
			names = append(names, name)
			readiness := httpProbe(port, "/"+name)
			readiness.FailureThreshold = 3
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
				Name: fmt.Sprintf("c%d", i), Image: bedtest.Image, Command: []string{"busybox", "sleep", "86400"},
				ReadinessProbe: readiness,
				LivenessProbe: &corev1.Probe{
					PeriodSeconds: int32(execPeriod.Seconds()), TimeoutSeconds: int32(timeout.Seconds()), FailureThreshold: 3,
					ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: countCommand(name)}},
				},
			})
		}
		mountHost(p, dir, "/x")
		pods = append(pods, p)
	}
	return pods, names
}
