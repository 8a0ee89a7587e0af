//go:build e2e

package bench

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	flipPods = 5
	flipWarm = 2 // the first flips of each pod do not count
)

// oracle answers the readiness probes of pods: a path for each.
type oracle struct {
	mu      sync.Mutex
	sick    map[string]bool
	flipped map[string]chan time.Time
}

func newOracle() *oracle {
	return &oracle{sick: map[string]bool{}, flipped: map[string]chan time.Time{}}
}

// flip makes the next answer for a pod the opposite of the last, and returns a
// channel for the time at which it was given.
func (o *oracle) flip(pod string) <-chan time.Time {
	at := make(chan time.Time, 1)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flipped[pod] = at
	return at
}

// ServeHTTP notes the time before it answers: the way back to the agent is part
// of what is measured.
func (o *oracle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	pod := strings.TrimPrefix(r.URL.Path, "/")
	o.mu.Lock()
	defer o.mu.Unlock()
	at := o.flipped[pod]
	if at != nil {
		o.sick[pod] = !o.sick[pod]
		delete(o.flipped, pod)
	}
	code := http.StatusOK
	if o.sick[pod] {
		code = http.StatusInternalServerError
	}
	if at != nil {
		at <- time.Now()
	}
	w.WriteHeader(code)
}

// flips measures how long after the answer of a probe the API has a pod Ready or
// not: n flips over all pods, both ways.
func flips(t *testing.T, b *bed.Bed, board *board, n int) []time.Duration {
	t.Helper()
	o := newOracle()
	port := serve(t, o)
	names := make([]string, flipPods)
	for i := range names {
		names[i] = fmt.Sprintf("flip-%d", i)
		p := bedtest.NewPod(names[i], 1, bedtest.Obeys)
		p.Spec.Containers[0].ReadinessProbe = httpProbe(port, "/"+names[i])
		if why := held(b, p); why != "" {
			t.Logf("no readiness flips: %s", why)
			return nil
		}
		must(t, "readiness flips", create(t.Context(), b, p))
	}
	all := make([][]time.Duration, flipPods)
	group, ctx := errgroup.WithContext(t.Context())
	for i, name := range names {
		group.Go(func() (err error) {
			all[i], err = flipsOf(ctx, o, board, name, flipWarm, (n+flipPods-1)/flipPods)
			return err
		})
	}
	must(t, "readiness flips", group.Wait())
	return slices.Concat(all...)
}

func flipsOf(ctx context.Context, o *oracle, board *board, pod string, warm, n int) ([]time.Duration, error) {
	if err := board.await(ctx, pod, "ready", bedtest.Ready); err != nil {
		return nil, err
	}
	var took []time.Duration
	for i := range warm + n {
		want := i%2 == 1
		seen := board.expect(pod, func(p *corev1.Pod) bool { return bedtest.Ready(p) == want })
		said, err := receive(ctx, o.flip(pod))
		if err != nil {
			return nil, fmt.Errorf("the probe of %s is not asked: %w", pod, err)
		}
		at, err := receive(ctx, seen)
		if err != nil {
			return nil, fmt.Errorf("pod %s does not become ready=%t: %w", pod, want, err)
		}
		if i >= warm {
			took = append(took, at.Sub(said))
		}
	}
	return took, nil
}

// httpProbe asks this process every second and decides at once.
func httpProbe(port int, path string) *corev1.Probe {
	return &corev1.Probe{
		PeriodSeconds: 1, TimeoutSeconds: serverSlow, FailureThreshold: 1, SuccessThreshold: 1,
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Host: "127.0.0.1", Port: intstr.FromInt(port), Path: path}},
	}
}

// answers measures what a probe's answer takes to whoever asks for it over a connection
// of its own, as probes do.
func answers(t *testing.T, n int) []time.Duration {
	t.Helper()
	const warm = 5
	o := newOracle()
	url := fmt.Sprintf("http://127.0.0.1:%d/x", serve(t, o))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var took []time.Duration
	for i := range warm + n {
		pause(t.Context(), time.Second/flipPods)
		given := o.flip("x")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		must(t, "asking as a probe does", err)
		resp, err := client.Do(req)
		read := time.Now()
		must(t, "asking as a probe does", err)
		must(t, "asking as a probe does", resp.Body.Close())
		if at := <-given; i >= warm {
			took = append(took, read.Sub(at))
		}
	}
	return took
}
