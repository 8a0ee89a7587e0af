//go:build e2e

package registry

import (
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const crowd = 20

// queue creates pods that want an image which its registry holds back, and waits
// until the agent has got as far with each of them as it gets.
func queue(t *testing.T, b *bed.Bed, f *faulty, prefix, image string) (all []*story) {
	t.Helper()
	f.set(faults{hold: make(chan struct{})})
	for i := range crowd {
		all = append(all, tell(t, b, puller(fmt.Sprint(prefix, "-", i), image, ifNotPresent)))
	}
	f.await("a layer", 1, request.blob)
	for _, s := range all {
		s.event(normal, "Pulling", container, fmt.Sprintf("Pulling image %q", image))
		s.until("in a sandbox", func(p *corev1.Pod) bool {
			return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionTrue
			})
		})
	}
	return all
}

// TestManyWait: pods that wait for one image cost its registry what one does.
func TestManyWait(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	f := newFaulty(t, b)
	image := f.push("many:1")
	all := queue(t, b, f, "many", image)
	f.set(faults{})
	for _, s := range all {
		s.ready()
		s.never("ErrImagePull")
	}
	given := map[string]int{}
	for _, r := range f.asked(request.blob) {
		given[r.path]++
	}
	for path, n := range given {
		if n > 1 {
			t.Errorf("%s was asked for %d times", path, n)
		}
	}
	if n := len(f.asked(request.manifest)); !upstream() && n > 2 {
		t.Errorf("the manifest was asked for %d times by one pull", n) // by its tag and by its digest
	} else {
		t.Logf("%d requests for the manifest, blobs: %v", n, given)
	}
}

var (
	rounds  = flag.Int("rounds", 5, "how often BenchmarkStartsMeanwhile measures each way")
	samples = flag.Int("samples", 10, "how many pods it starts each time")
)

// tolerance is how much longer a start may take beside pods that wait.
const tolerance = 1.10

// BenchmarkStartsMeanwhile: pods whose image is there start as on an idle node
// while others wait for one that is not. Both are measured in turn.
func BenchmarkStartsMeanwhile(bench *testing.B) {
	if ok := testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "StartsMeanwhile", F: startsMeanwhile}}); !ok {
		bench.Fail()
	}
}

func startsMeanwhile(t *testing.T) {
	b := shared.Bed(t)
	f := newFaulty(t, b)
	var idle, beside []time.Duration
	for i := range 3 {
		tell(t, b, bedtest.NewPod(fmt.Sprint("warm-", i), 0, bedtest.Obeys)).ready()
	}
	alone := func(round int) { idle = append(idle, starts(t, b, fmt.Sprint("idle-", round))...) }
	crowded := func(round int) {
		image := f.push(fmt.Sprint("meanwhile:", round))
		t.Run(fmt.Sprint("beside-", round), func(t *testing.T) { // its pods are deleted at its end
			queue(t, b, f, fmt.Sprint("wait-", round), image)
			beside = append(beside, starts(t, b, fmt.Sprint("beside-", round))...)
			f.set(faults{status: http.StatusServiceUnavailable})
		})
		settled(t, b)
	}
	for round := range *rounds {
		order := []func(int){alone, crowded}
		if round%2 == 1 { // what the machine does else must not fall on one of them
			slices.Reverse(order)
		}
		for _, measure := range order {
			measure(round)
		}
	}
	t.Logf("start of a pod whose image is there, %d each, p50 (p90): idle %s (%s), beside %d pods that wait for an image %s (%s)",
		len(idle), quantile(idle, 50), quantile(idle, 90), crowd, quantile(beside, 50), quantile(beside, 90))
	if i, m := quantile(idle, 50), quantile(beside, 50); float64(m) > tolerance*float64(i) {
		t.Errorf("p50 %s, want at most %s", m, time.Duration(tolerance*float64(i)))
	}
}

// starts measures how long pods take from their creation to running, one by one.
func starts(t *testing.T, b *bed.Bed, prefix string) (all []time.Duration) {
	t.Helper()
	for i := range *samples {
		t.Run(fmt.Sprint(prefix, "-", i), func(t *testing.T) {
			began := time.Now()
			s := tell(t, b, bedtest.NewPod(fmt.Sprint(prefix, "-", i), 0, bedtest.Obeys))
			s.ready()
			all = append(all, time.Since(began))
		})
		settled(t, b, prefix)
	}
	return all
}

// settled waits until the pods whose names begin so are gone.
func settled(t *testing.T, b *bed.Bed, prefixes ...string) {
	t.Helper()
	pods := b.Client().CoreV1().Pods(namespace)
	for {
		list, err := pods.List(t.Context(), metav1.ListOptions{})
		must(t, "listing the pods", err)
		left := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
			return strings.HasPrefix(p.Name, "warm-") || len(prefixes) > 0 && !strings.HasPrefix(p.Name, prefixes[0])
		})
		if len(left) == 0 {
			return
		}
		w, err := pods.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		must(t, "watching the pods", err)
		for e := range w.ResultChan() {
			if e.Type == watch.Deleted {
				break
			}
		}
		w.Stop()
	}
}

func quantile(all []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)*percent/100].Round(time.Millisecond)
}
