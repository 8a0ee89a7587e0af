//go:build e2e

package chaos

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	steadyPods = 3
	runsFor    = 3 * time.Second // at most, between two kills
	// What is told of what is wrong: problems, and facts of a status.
	shown, shownFacts = 25, 6
)

// TestKills: the agent is killed at random moments while pods of all kinds live
// and die. No process is started more often than exit codes and policies say, no
// crash loop is faster, finished pods end as they do undisturbed, and when all
// pods are deleted nothing is left of them.
func TestKills(t *testing.T) {
	if *seed == 0 {
		*seed = time.Now().UnixNano()
	}
	b := bed.Start(t, bed.Options{})
	t.Logf("%s, %d kills, -seed=%d", b.Agent(), *kills, *seed)
	before, err := bedtest.Inventory(t.Context(), b)
	must(t, "looking at the machine", err)
	r := newRun(t, b)
	began := time.Now()
	r.undisturbed(t.Context())
	t.Logf("undisturbed: %s, %d problems", time.Since(began).Round(time.Second), len(r.problems))
	steady := r.steady(t)

	began = time.Now()
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		r.disturbed(t.Context(), stop)
	}()
	done, err := bedtest.Kill(t.Context(), b, *kills, runsFor, rand.New(rand.NewPCG(uint64(*seed), 1)))
	close(stop)
	<-ended
	must(t, "killing and starting the agent", err)
	disturbed := time.Since(began)
	r.endSteady(t, steady)
	began = time.Now()
	left, err := bedtest.Leaks(t.Context(), b, before, bedtest.LeakLimit(b))
	must(t, "looking for what is left", err)
	t.Logf("%d kills in %s, and %d more during a start; starts of the agent: %s", *kills, disturbed.Round(time.Second), done.Early, spread(done.Starts))
	took := time.Since(began).Round(100 * time.Millisecond)
	agents, runtimes, err := bedtest.Blame(t.Context(), b, before, left)
	must(t, "looking at what is left", err)
	t.Logf("%s after the last pod: left by the agent %d things, by the runtime %d", took, len(agents), len(runtimes))
	if len(runtimes) > 0 {
		t.Logf("what the runtime has forgotten or refuses to remove, not judged:\n  %s", strings.Join(runtimes[:min(len(runtimes), shown)], "\n  "))
	}
	if len(agents) > 0 {
		text := fmt.Sprintf("%d things are left of pods that are gone:\n  %s", len(agents), strings.Join(agents[:min(len(agents), shown)], "\n  "))
		r.problems = slices.Insert(r.problems, 0, text)
	}
	r.report(t)
}

// steady makes pods that live through all kills.
func (r *run) steady(t *testing.T) []*corev1.Pod {
	t.Helper()
	k := kind{name: "steady", policy: corev1.RestartPolicyAlways, main: []step{{name: "a", script: bedtest.Obeys}, {name: "b", script: bedtest.Obeys}}}
	pods := make([]*corev1.Pod, steadyPods)
	for i := range pods {
		p := k.pod(fmt.Sprintf("steady-%d", i), r.journals)
		_, err := r.bed.Client().CoreV1().Pods(namespace).Create(t.Context(), p, metav1.CreateOptions{})
		must(t, "creating a steady pod", err)
		seen, err := r.board.Await(t.Context(), p.Name, "ready", k.settled)
		must(t, "creating a steady pod", err)
		pods[i] = seen.Pod
	}
	return pods
}

// endSteady checks that the pods are as they were, and deletes them.
func (r *run) endSteady(t *testing.T, pods []*corev1.Pod) {
	t.Helper()
	client := r.bed.Client().CoreV1().Pods(namespace)
	for _, was := range pods {
		p, err := client.Get(t.Context(), was.Name, metav1.GetOptions{})
		must(t, "looking at a steady pod", err)
		for i, c := range p.Status.ContainerStatuses {
			if before := was.Status.ContainerStatuses[i]; c.ContainerID != before.ContainerID || c.RestartCount != 0 {
				r.problem("container %s of %s is %s with %d restarts, was %s", c.Name, p.Name, c.ContainerID, c.RestartCount, before.ContainerID)
			}
		}
		must(t, "deleting a steady pod", client.Delete(t.Context(), p.Name, metav1.DeleteOptions{}))
		_, err = r.board.Await(t.Context(), p.Name, "gone", bedtest.Gone)
		must(t, "deleting a steady pod", err)
		j, err := readJournal(r.journals, p.Name)
		must(t, "looking at a steady pod", err)
		for _, c := range []string{"a", "b"} {
			if n := len(j[c+" "+started]); n != 1 {
				r.problem("container %s of %s was started %d times, want once", c, p.Name, n)
			}
		}
	}
}

// report tells the figures and what was wrong. What is wrong with nodeagent fails
// the test.
func (r *run) report(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var lives []string
	sum := 0
	for _, name := range slices.Sorted(maps.Keys(r.lives)) {
		lives = append(lives, fmt.Sprintf("%s %d", name, r.lives[name]))
		sum += r.lives[name]
	}
	t.Logf("%d pods lived and went: %s; %d processes were started", sum, strings.Join(lives, ", "), r.starts)
	for _, name := range slices.Sorted(maps.Keys(r.hooks)) {
		t.Logf("hooks: %s in %d containers", name, r.hooks[name])
	}
	t.Logf("deleted to gone: %s", spread(r.deletes))
	cancelled, refused := cancelledStarts(r.bed)
	starts := 0
	for _, n := range cancelled {
		starts += n
	}
	runtimes, others := explained(r.problems, cancelled, refused)
	t.Logf("%d starts of containers were broken off by the runtime because the agent was gone, in %d pods; %d findings are of those where the process had run for a moment",
		starts, len(cancelled), len(runtimes))
	if len(runtimes) > 0 {
		t.Logf("of these, not judged:\n  %s", strings.Join(runtimes[:min(shown, len(runtimes))], "\n  "))
	}
	r.tell(t, "problems", others)
}

// tell fails the test for what is wrong with nodeagent.
func (r *run) tell(t *testing.T, what string, problems []string) {
	t.Helper()
	if len(problems) == 0 {
		return
	}
	text := fmt.Sprintf("%d %s; the first:\n%s", len(problems), what, strings.Join(problems[:min(shown, len(problems))], "\n"))
	if r.bed.Agent() != bed.Nodeagent {
		t.Logf("not judged, the agent is %s: %s", r.bed.Agent(), text)
		return
	}
	t.Error(text)
}

func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	sorted := slices.Sorted(slices.Values(all))
	at := func(percent int) time.Duration {
		return sorted[(len(sorted)*percent+99)/100-1].Round(time.Millisecond)
	}
	return fmt.Sprintf("median %s, p99 %s, longest %s of %d", at(50), at(99), at(100), len(sorted))
}
