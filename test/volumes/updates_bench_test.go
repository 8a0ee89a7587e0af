//go:build volumeload

package volumes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	updatedPods = 20
	// updateLimit is how long nodeagent may take for 99 of 100 updates.
	updateLimit = 250 * time.Millisecond
	// kubeletLimit is how long the kubelet is waited for: it looks at a pod every
	// minute to a minute and a half.
	kubeletLimit = 4 * time.Minute
	// phase bounds the random pause before an update.
	phase = 100 * time.Millisecond
)

// BenchmarkUpdates: how soon a file in a container has changed after a ConfigMap or
// a Secret has: from the patch that is sent to the program in the container that
// has read the new content. Both agents in one run, side by side.
func BenchmarkUpdates(bench *testing.B) {
	measured := map[string]map[string][]time.Duration{}
	for _, agent := range agents() {
		bench.Run(agent, func(bench *testing.B) {
			measured[agent] = measureUpdates(bench, agent)
			for _, what := range []string{"configmap", "secret", "shared"} {
				bench.Run(what, func(bench *testing.B) { report(bench, measured[agent][what]) })
			}
		})
	}
	lines := []string{"from the patch of an object to the file in the container; load " + load()}
	for _, what := range []string{"configmap", "secret", "shared", "configmap or secret"} {
		for _, agent := range agents() {
			lines = append(lines, row(agent+": "+what, measured[agent][what]))
		}
	}
	bench.Log(strings.Join(lines, "\n"))
	own := measured[bed.Nodeagent]["configmap or secret"]
	if p99 := rank(own, 99); len(own) > 0 && p99 > updateLimit && !*printOnly {
		bench.Errorf("p99 of %d updates is %s, want less than %s", len(own), p99, updateLimit)
	}
}

// updated is a bed with pods each of which has a ConfigMap and a Secret of its own
// and a ConfigMap that all have.
type updated struct {
	*site
	state  int
	result map[string][]time.Duration
}

func measureUpdates(bench *testing.B, agent string) map[string][]time.Duration {
	bench.Helper()
	s := newSite(bench, bed.Start(bench, bed.Options{Agent: agent}), "updates")
	s.limit = kubeletLimit
	u := &updated{site: s, state: 1, result: map[string][]time.Duration{}}
	s.objects(s.name+"-all", "1")
	var pods []*corev1.Pod
	for i := range updatedPods {
		s.objects(s.object(i), "1")
		p := s.pod(fmt.Sprint(i), fmt.Sprintf("exec /witness watch /x/notes-%d /configmap/a /secret/a /shared/a", i))
		mount(p, configMap("configmap", s.object(i)), "/configmap")
		mount(p, secret("secret", s.object(i)), "/secret")
		mount(p, configMap("shared", s.name+"-all"), "/shared")
		pods = append(pods, s.create(p))
	}
	for i, p := range pods {
		s.await(p, "ready", bedtest.Ready)
		s.noted(fmt.Sprint("notes-", i), "/shared/a", "1")
	}
	bench.Logf("%s: %d pods run; load %s", agent, len(pods), load())
	if agent == bed.Kubelet {
		for range *rounds {
			u.allAtOnce()
		}
	} else {
		u.oneByOne(*updates)
	}
	u.result["configmap or secret"] = slices.Concat(u.result["configmap"], u.result["secret"])
	return u.result
}

func (s *site) object(i int) string { return fmt.Sprintf("%s-%d", s.name, i) }

// oneByOne changes one object of one pod after the other, and now and then the one
// that all have.
func (u *updated) oneByOne(n int) {
	u.t.Helper()
	for k := range n {
		bedtest.Pause(u.t.Context(), rand.N(phase))
		kind := []string{"configmap", "secret"}[k/updatedPods%2]
		i := k % updatedPods
		u.state++
		began := time.Now()
		u.patch(kind, u.object(i), dataPatch(kind, fmt.Sprint(u.state)))
		u.took(kind, i, "/"+kind+"/a", began)
		if i == updatedPods-1 {
			u.changeShared()
		}
	}
}

// changeShared changes what all pods have.
func (u *updated) changeShared() {
	u.t.Helper()
	u.state++
	began := time.Now()
	u.patch("configmap", u.name+"-all", dataPatch("configmap", fmt.Sprint(u.state)))
	for i := range updatedPods {
		u.took("shared", i, "/shared/a", began)
	}
}

// allAtOnce changes everything at random moments of a minute, as long as the
// slower agent takes for one.
func (u *updated) allAtOnce() {
	u.t.Helper()
	u.state++
	ctx, cancel := context.WithCancel(u.t.Context())
	defer cancel()
	var all sync.WaitGroup
	var began [updatedPods][2]time.Time
	var failed [updatedPods]error
	for i := range updatedPods {
		all.Go(func() {
			for n, kind := range []string{"configmap", "secret"} {
				bedtest.Pause(ctx, rand.N(30*time.Second))
				began[i][n] = time.Now()
				if err := u.tryPatch(kind, u.object(i), dataPatch(kind, fmt.Sprint(u.state))); err != nil {
					failed[i] = err
				}
			}
		})
	}
	shared := time.Now()
	u.patch("configmap", u.name+"-all", dataPatch("configmap", fmt.Sprint(u.state)))
	all.Wait()
	for i := range updatedPods {
		must(u.t, "changing an object", failed[i])
		u.took("configmap", i, "/configmap/a", began[i][0])
		u.took("secret", i, "/secret/a", began[i][1])
		u.took("shared", i, "/shared/a", shared)
	}
}

// took waits until a pod has noted the newest state and takes down how long it was.
func (u *updated) took(what string, pod int, file string, began time.Time) {
	u.t.Helper()
	at := u.noted(fmt.Sprint("notes-", pod), file, fmt.Sprint(u.state))
	u.result[what] = append(u.result[what], at.Sub(began))
}
