//go:build e2e

package bench

import (
	"flag"
	"fmt"
	"math"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

var (
	probeFor    = flag.Duration("for", 20*time.Second, "how long TestProbeLoad counts probes")
	containers  = flag.Int("containers", 0, "containers of TestProbeLoad; 0 means 30, or 200 with -compare")
	perPod      = flag.Int("per-pod", 10, "containers of each pod of TestProbeLoad")
	execPeriod  = flag.Duration("exec-period", 0, "period of exec probes; 0 takes what half of the machine can do, whole seconds")
	execTimeout = flag.Duration("exec-timeout", 10*time.Second, "timeout of exec probes")
)

const (
	httpPeriod = time.Second
	// What nodeagent may have more at the end than in the middle.
	rssMore        = 20 << 10 // KiB
	goroutinesMore = 50
)

// load is what is asked of an agent.
type load struct {
	limit      capacity
	containers int
	execPeriod time.Duration
}

func (l load) String() string {
	return fmt.Sprintf("asked for %s: %d http probes every %s (%.1f/s) and %d exec probes every %s (%.1f/s), timeout %s\nthe machine: %s",
		*probeFor, l.containers, httpPeriod, float64(l.containers)/httpPeriod.Seconds(),
		l.containers, l.execPeriod, float64(l.containers)/l.execPeriod.Seconds(), *execTimeout, l.limit)
}

// outcome is what came of it.
type outcome struct {
	http, exec           tally
	longest              time.Duration // between two http probes of one container
	unhealthy, dropped   int           // events; pods that stopped being ready
	restarts             int
	start, middle, end   taken
	startTime, probeTime time.Duration
}

// spurious counts what should not be seen, since every probe is answered well.
func (o *outcome) spurious() int { return o.unhealthy + o.dropped + o.restarts }

// TestProbeLoad: many containers with a readiness probe by HTTP and a liveness
// probe by exec each. Every probe succeeds; counted are those that do not come,
// those that are taken for failed, and what the agent takes of the machine. How
// many execs a machine can do in a second is measured first, and not more than
// half of it is asked for unless the flags say so.
func TestProbeLoad(t *testing.T) {
	l := &load{containers: *containers, execPeriod: *execPeriod}
	if l.containers == 0 {
		l.containers = 30
		if *compare {
			l.containers = 200
		}
	}
	outcomes := map[string]*outcome{}
	for _, agent := range agents() {
		t.Run(agent, func(t *testing.T) { outcomes[agent] = probeLoad(t, agent, l) })
	}
	rows := [][]string{{""}, {"http probes seen"}, {"http probes short, least of one"}, {"longest time between two of one"}, {"exec probes seen"},
		{"exec probes short, least of one"}, {"Unhealthy events, pods not ready, restarts"}, {"agent: processor seconds, millicores"},
		{"containerd: processor seconds, millicores"}, {"machine: cores busy"}, {"agent: RSS, goroutines at the start"}, {"  in the middle"},
		{"  at the end"}, {"all pods ready after"}}
	for _, agent := range agents() {
		o := outcomes[agent]
		if o == nil {
			continue
		}
		short := func(x tally) string { return fmt.Sprintf("%d probes lack %d, %d", x.short, x.missing, x.least) }
		cpu := func(d time.Duration) string {
			return fmt.Sprintf("%.1f s, %.0f", d.Seconds(), 1000*d.Seconds()/o.probeTime.Seconds())
		}
		for i, text := range []string{agent, o.http.String(), short(o.http), o.longest.Round(time.Millisecond).String(), o.exec.String(),
			short(o.exec), fmt.Sprintf("%d, %d, %d", o.unhealthy, o.dropped, o.restarts), cpu(o.end.agent - o.start.agent),
			cpu(o.end.runtime - o.start.runtime), fmt.Sprintf("%.2f", (o.end.all-o.start.all).Seconds()/o.probeTime.Seconds()),
			o.start.String(), o.middle.String(), o.end.String(), o.startTime.Round(10 * time.Millisecond).String()} {
			rows[i] = append(rows[i], text)
		}
	}
	t.Logf("%s\n%s", l, table(rows))
	if judged(bed.Nodeagent) {
		judge(t, outcomes[bed.Nodeagent])
	}
}

func judge(t *testing.T, o *outcome) {
	t.Helper()
	if o == nil {
		t.Error("nothing measured, see above")
		return
	}
	if o.http.short > 0 || o.exec.short > 0 {
		t.Errorf("%d http probes and %d exec probes were not asked as often as due", o.http.short, o.exec.short)
	}
	if o.spurious() > 0 {
		t.Errorf("%d Unhealthy events, %d pods not ready any more and %d restarts, though every probe succeeded", o.unhealthy, o.dropped, o.restarts)
	}
	if o.end.rss > o.middle.rss+rssMore || o.end.goroutines > o.middle.goroutines+goroutinesMore {
		t.Errorf("the agent grows: %s in the middle, %s at the end", o.middle, o.end)
	}
}

// probeLoad runs the load under one agent, on a bed of its own.
func probeLoad(t *testing.T, agent string, l *load) *outcome {
	t.Helper()
	b := bed.Start(t, bed.Options{Agent: agent})
	board, dir, http := watchPods(t, b), hostDir(t, b, "probes"), newCounter()
	if l.limit.perSecond == 0 {
		l.limit = execCapacity(t, b, board, dir)
		t.Logf("the machine: %s", l.limit)
	}
	if l.execPeriod == 0 {
		l.execPeriod = time.Duration(math.Ceil(float64(l.containers)/(l.limit.perSecond/2))) * time.Second
	}
	pods, names := probedPods(l.containers, serve(t, http), dir, l.execPeriod, *execTimeout)
	if why := held(b, pods[0]); why != "" {
		t.Logf("no probes: %s", why)
		return nil
	}
	began := time.Now()
	must(t, "making pods", create(t.Context(), b, pods...))
	for _, p := range pods {
		must(t, "making pods", board.await(t.Context(), p.Name, "ready", bedtest.Ready))
	}
	o := &outcome{startTime: time.Since(began)}
	// Each exec probe is at work once its first period has passed.
	pause(t.Context(), l.execPeriod)
	o.measure(t, b, board, http, names, dir, l.execPeriod)
	return o
}

// measure counts for as long as the flag says.
func (o *outcome) measure(t *testing.T, b *bed.Bed, board *board, http *counter, names []string, dir string, execPeriod time.Duration) {
	t.Helper()
	var err error
	dropped, unhealthy, restarts := board.dropped(), unhealthyEvents(t, b), restarted(t, b)
	o.start, err = measure(t.Context(), b)
	must(t, "measuring the agent", err)
	before := fileCounts(t, dir, names)
	began := time.Now()
	http.start()
	pause(t.Context(), *probeFor/2)
	o.middle, err = measure(t.Context(), b)
	must(t, "measuring the agent", err)
	pause(t.Context(), time.Until(began.Add(*probeFor)))
	seen, longest := http.counts(names)
	after := fileCounts(t, dir, names)
	o.probeTime = time.Since(began)
	o.end, err = measure(t.Context(), b)
	must(t, "measuring the agent", err)
	o.longest = longest
	o.http = tallied(names, seen, nil, o.probeTime, httpPeriod)
	o.exec = tallied(names, after, before, o.probeTime, execPeriod)
	o.dropped, o.unhealthy, o.restarts = board.dropped()-dropped, unhealthyEvents(t, b)-unhealthy, restarted(t, b)-restarts
}

// unhealthyEvents counts the probes that the agent took for failed.
func unhealthyEvents(t *testing.T, b *bed.Bed) int {
	t.Helper()
	list, err := b.Client().CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=Unhealthy"})
	must(t, "listing events", err)
	sum := 0
	for _, e := range list.Items {
		sum += int(max(e.Count, 1))
	}
	return sum
}

// restarted counts the restarts of all containers.
func restarted(t *testing.T, b *bed.Bed) int {
	t.Helper()
	list, err := b.Client().CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	must(t, "listing pods", err)
	sum := 0
	for _, p := range list.Items {
		for _, s := range p.Status.ContainerStatuses {
			sum += int(s.RestartCount)
		}
	}
	return sum
}
