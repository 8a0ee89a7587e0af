//go:build e2e

package bench

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

var samples = flag.Int("samples", 0, "how many flips and exits TestLatency measures; 0 means 10, or 50 with -compare")

// What is measured, and how long nodeagent may take for 99 of 100.
const (
	ofAPI     = floorAPI
	ofFlip    = "probe answered to Ready changed"
	ofExit    = "process ended to terminated"
	ofOwn     = "  the agent's part: CRI event to terminated"
	ofRuntime = "the runtime alone: process ended to CRI event"
	ofRestart = "process ended to running again"

	flipLimit = 150 * time.Millisecond
	exitLimit = 100 * time.Millisecond
)

// TestLatency: how soon the API shows that a readiness probe was answered
// differently and that a process has ended. With -compare both agents are
// measured and nodeagent keeps its limits.
func TestLatency(t *testing.T) {
	n := *samples
	if n == 0 {
		n = 10
		if *compare {
			n = 50
		}
	}
	measured := map[string]map[string]spread{}
	for _, agent := range agents() {
		t.Run(agent, func(t *testing.T) { measured[agent] = latencies(t, agent, n) })
	}
	head := append([]string{"milliseconds: min / median / p99 / max"}, agents()...)
	if *compare {
		head = append(head, "kubelet to nodeagent, median / p99")
	}
	rows := [][]string{head}
	for _, what := range []string{ofFlip, ofExit, ofOwn, ofRestart, ofRuntime, ofAPI} {
		row := []string{what}
		for _, agent := range agents() {
			row = append(row, fmt.Sprintf("%s (%d)", measured[agent][what], measured[agent][what].n))
		}
		if *compare {
			row = append(row, ratio(measured[bed.Kubelet][what], measured[bed.Nodeagent][what]))
		}
		rows = append(rows, row)
	}
	t.Logf("delays\n%s", table(rows))
	for what, limit := range map[string]time.Duration{ofFlip: flipLimit, ofExit: exitLimit} {
		got := measured[bed.Nodeagent][what]
		switch {
		case !judged(bed.Nodeagent):
		case got.n == 0:
			t.Errorf("%s: not measured, see above", what)
		case got.p99 > limit:
			t.Errorf("%s: p99 of %d is %s, want %s at most", what, got.n, got.p99.Round(time.Millisecond), limit)
		}
	}
}

// latencies measures one agent on a bed of its own.
func latencies(t *testing.T, agent string, n int) map[string]spread {
	t.Helper()
	b := bed.Start(t, bed.Options{Agent: agent})
	busy, err := os.ReadFile("/proc/loadavg")
	must(t, "looking at the machine", err)
	t.Logf("the machine before: load average %s", bytes.TrimSpace(busy))
	board := watchPods(t, b)
	measured := map[string]spread{}
	measured[ofFlip] = spreadOf(flips(t, b, board, n))
	all := exits(t, b, board, n)
	measured[ofExit], measured[ofRestart] = spreadOf(all.shown), spreadOf(all.again)
	measured[ofRuntime], measured[ofOwn] = spreadOf(all.told), spreadOf(all.own)
	measured[ofAPI] = spreadOf(roundTrips(t, b, board, n))
	return measured
}

// roundTrips measures what the API server and the watch take by themselves for the
// least that an agent has to say: that a pod and its container are ready, or are not.
// They are asked as often as the answers of probes change: a request that comes right
// after another takes less than one that finds everybody idle. Where there is no agent
// it is asked as an agent has to: as the node's user, whose pod it is, and who watches
// its pods.
func roundTrips(t *testing.T, b *bed.Bed, board *board, n int) []time.Duration {
	t.Helper()
	const warm, every = 5, time.Second / flipPods
	p := bedtest.NewPod("patched", 1, bedtest.Obeys)
	client := b.Client()
	if b.Agent() == bed.NoAgent {
		p.Spec.NodeName, client = b.NodeName, watchAsNode(t, b)
	} else {
		p.Spec.SchedulerName = "nobody" // no agent has it
	}
	must(t, "patching", create(t.Context(), b, p))
	p, err := b.Client().CoreV1().Pods(namespace).Get(t.Context(), p.Name, metav1.GetOptions{})
	must(t, "patching", err)
	full := fullStatus(p, "containerd://none", corev1.PodRunning, corev1.ConditionTrue)
	must(t, "patching", sendStatus(t.Context(), client, p, full))
	var took []time.Duration
	for i := range warm + n {
		want := i%2 == 1
		is := corev1.ConditionFalse
		if want {
			is = corev1.ConditionTrue
		}
		now := metav1.Now()
		full.ContainerStatuses[0].Ready = want
		least := &corev1.PodStatus{ContainerStatuses: full.ContainerStatuses, Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: is, LastTransitionTime: now}, {Type: corev1.ContainersReady, Status: is, LastTransitionTime: now}}}
		pause(t.Context(), every)
		seen := board.expect(p.Name, func(p *corev1.Pod) bool { return bedtest.Ready(p) == want })
		sent := time.Now()
		must(t, "patching", sendStatus(t.Context(), client, p, least))
		at, err := receive(t.Context(), seen)
		must(t, "waiting for a patch", err)
		if i >= warm {
			took = append(took, at.Sub(sent))
		}
	}
	now := int64(0)
	must(t, "patching", b.Client().CoreV1().Pods(namespace).Delete(t.Context(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}))
	return took
}

// watchAsNode watches the node's pods until the test ends, as every agent does, and
// returns the client of the node's user.
func watchAsNode(t *testing.T, b *bed.Bed) kubernetes.Interface {
	t.Helper()
	config, err := b.NodeRESTConfig()
	must(t, "the node's credential", err)
	client := cheaply(t, config)
	watch, err := client.CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + b.NodeName})
	must(t, "watching the node's pods", err)
	var read sync.WaitGroup
	read.Go(func() {
		for range watch.ResultChan() { // that they are decoded is what counts
		}
	})
	t.Cleanup(func() { watch.Stop(); read.Wait() })
	return client
}
