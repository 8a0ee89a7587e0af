//go:build e2e

package scrapecost

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

var (
	windowFor  = flag.Duration("for", 2*time.Minute, "how long each window is, asked and not")
	settleFor  = flag.Duration("settle", 45*time.Second, "how long an agent is left alone after its start")
	profileFor = flag.Duration("profile", time.Minute, "how long nodeagent is profiled while nobody asks")
	askEvery   = flag.Duration("every", 15*time.Second, "how often each endpoint is asked")
	rounds     = flag.Int("rounds", 2, "how often each agent has its turn")
	podCount   = flag.Int("pods", 110, "pods, of two containers each")
	probed     = flag.Int("probed", 20, "how many pods have a readiness and a liveness probe")
	printOnly  = flag.Bool("print", false, "judge nothing")
)

const (
	// patience bounds what takes as long as the machine is slow.
	patience = 5 * time.Minute
	// limit is the share of the kubelet's processor time that nodeagent may take.
	limit = 1.0 / 3
	// statsCode is where nodeagent counts what pods use.
	statsCode = "nodeagent.dev/nodeagent/internal/stats"
)

var must = bedtest.Must

// turn is what one agent took in one round.
type turn struct {
	idle, asked taken
	answers     map[string]*answers
}

// onTop is what being asked took.
func (x *turn) onTop() time.Duration { return x.asked.agent - x.idle.agent }

// TestScrapeCost: with nobody asking nothing is counted, and being asked costs a
// third of what it costs the kubelet at most.
func TestScrapeCost(t *testing.T) {
	b := bed.Start(t, bed.Options{Agent: bed.Kubelet, UsualSocket: true})
	start(t, b)
	turns := map[string][]*turn{}
	for round := range *rounds {
		for _, agent := range []string{bed.Kubelet, bed.Nodeagent} {
			if b.Agent() != agent {
				must(t, "changing the agent", b.SwitchAgent(t.Context(), agent))
				must(t, "changing the agent", b.WaitNodeReady(t.Context()))
			}
			turns[agent] = append(turns[agent], takeTurn(t, b, round))
		}
	}
	allReady(t, b)
	t.Logf("%d pods, windows of %s, asked every %s\n%s", *podCount, *windowFor, *askEvery, show(turns))
	judge(t, turns)
}

// start makes the pods and waits until all are ready.
func start(t *testing.T, b *bed.Bed) {
	t.Helper()
	const sleeps = "exec sleep 86400"
	began := time.Now()
	for i := range *podCount {
		p := bedtest.NewPod(fmt.Sprintf("pod-%d", i), 1, sleeps, sleeps)
		if i < *probed {
			c := &p.Spec.Containers[0]
			c.Command = []string{"sh", "-c", "echo ok > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"}
			c.ReadinessProbe = &corev1.Probe{PeriodSeconds: 10, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(8080)}}}
			c.LivenessProbe = c.ReadinessProbe.DeepCopy()
			c.LivenessProbe.InitialDelaySeconds = 60
		}
		_, err := b.Client().CoreV1().Pods(bedtest.Namespace).Create(t.Context(), p, metav1.CreateOptions{})
		must(t, "creating pods", err)
	}
	board := bedtest.WatchPods(t, b, patience)
	for i := range *podCount {
		_, err := board.Await(t.Context(), fmt.Sprintf("pod-%d", i), "ready", bedtest.Settled(bedtest.Ready))
		must(t, "waiting for pods", err)
	}
	t.Logf("%d pods are ready after %s", *podCount, time.Since(began).Round(time.Second))
}

// allReady checks that agents have changed without a container noticing.
func allReady(t *testing.T, b *bed.Bed) {
	t.Helper()
	list, err := b.Client().CoreV1().Pods(bedtest.Namespace).List(t.Context(), metav1.ListOptions{})
	must(t, "listing pods", err)
	for i := range list.Items {
		p := &list.Items[i]
		restarted := slices.ContainsFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.RestartCount > 0 })
		if !bedtest.Ready(p) || restarted {
			t.Errorf("pod %s is not ready or was restarted: what was measured is something else", p.Name)
		}
	}
}

// takeTurn measures the agent that the bed has.
func takeTurn(t *testing.T, b *bed.Bed, round int) *turn {
	t.Helper()
	ctx, s := t.Context(), newScraper(t, b)
	bedtest.Pause(ctx, *settleFor)
	x := &turn{answers: map[string]*answers{}}
	var err error
	x.idle, err = during(ctx, b, func() { bedtest.Pause(ctx, *windowFor) })
	must(t, "measuring while nobody asks", err)
	if b.Agent() == bed.Nodeagent {
		silent(t, b)
	}
	must(t, "asking for the first time", s.once(ctx))
	x.asked, err = during(ctx, b, func() { x.answers, err = s.scrape(ctx, *windowFor) })
	must(t, "measuring while somebody asks", err)
	t.Logf("round %d, %s: idle %s; asked %s", round+1, b.Agent(), x.idle, x.asked)
	return x
}

// silent profiles nodeagent while nobody asks it for figures.
func silent(t *testing.T, b *bed.Bed) {
	t.Helper()
	profile, top, err := profiled(t.Context(), b, *profileFor)
	must(t, "profiling", err)
	t.Logf("a profile of %s while nobody asks:\n%s", *profileFor, top)
	if found := within(profile, statsCode); len(found) > 0 && !*printOnly {
		t.Errorf("while nobody asks, the profile has samples in %s", strings.Join(found, ", "))
	}
}

// sum adds up all turns of an agent.
func sum(turns []*turn, of func(*turn) time.Duration) time.Duration {
	all := time.Duration(0)
	for _, x := range turns {
		all += of(x)
	}
	return all
}

func judge(t *testing.T, turns map[string][]*turn) {
	t.Helper()
	for what, of := range map[string]func(*turn) time.Duration{
		"while it is asked":                       func(x *turn) time.Duration { return x.asked.agent },
		"on top of what it takes when it is not":  (*turn).onTop,
		"while it is asked, with runtime and all": func(x *turn) time.Duration { return x.asked.agent + x.asked.runtime + x.asked.shims },
	} {
		first, second := sum(turns[bed.Kubelet], of), sum(turns[bed.Nodeagent], of)
		share := second.Seconds() / first.Seconds()
		t.Logf("processor time %s: kubelet %s, nodeagent %s: %.2f of it", what, first, second, share)
		if (first <= 0 || share > limit) && !*printOnly && !strings.Contains(what, "runtime") {
			t.Errorf("processor time %s: kubelet %s, nodeagent %s, want %.2f of it at most", what, first, second, limit)
		}
	}
}

// show lines up what was measured.
func show(turns map[string][]*turn) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	line := func(cells ...string) { _, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) } // into memory
	millicores := func(d time.Duration) string { return fmt.Sprintf("%.1f", 1000*d.Seconds()/windowFor.Seconds()) }
	line("millicores", "agent idle", "asked", "on top", "containerd idle", "asked", "shims idle", "asked")
	for _, agent := range slices.Sorted(maps.Keys(turns)) {
		for i, x := range turns[agent] {
			line(fmt.Sprintf("%s %d", agent, i+1), millicores(x.idle.agent), millicores(x.asked.agent), millicores(x.onTop()),
				millicores(x.idle.runtime), millicores(x.asked.runtime), millicores(x.idle.shims), millicores(x.asked.shims))
		}
	}
	line()
	line("endpoint", "agent", "answers", "median ms", "longest ms", "KiB")
	for _, endpoint := range endpoints {
		for _, agent := range slices.Sorted(maps.Keys(turns)) {
			all := &answers{}
			for _, x := range turns[agent] {
				if a := x.answers[endpoint]; a != nil {
					all.took = append(all.took, a.took...)
					all.bytes = max(all.bytes, a.bytes)
				}
			}
			if len(all.took) == 0 {
				line(endpoint, agent, "none")
				continue
			}
			slices.SortFunc(all.took, func(a, b time.Duration) int { return cmp.Compare(a, b) })
			ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", 1000*d.Seconds()) }
			line(endpoint, agent, fmt.Sprint(len(all.took)), ms(all.took[len(all.took)/2]), ms(all.took[len(all.took)-1]), fmt.Sprint(all.bytes>>10))
		}
	}
	_ = w.Flush() // into memory
	return text.String()
}
