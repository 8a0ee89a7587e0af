//go:build e2e

package statsdiff

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

var (
	valuesFor  = flag.Duration("for", 90*time.Second, "how long TestValues lets an agent tell values")
	mostWrong  = flag.Float64("most-wrong", 2, "percent by which values may be wrong")
	printWrong = flag.Bool("print", false, "TestValues fails for nothing")
)

const (
	// minute is the time over which values are compared, at least.
	minute     = time.Minute
	askValues  = 3 * time.Second
	countEvery = 250 * time.Millisecond
	megabyte   = 1 << 20
	// held is what a container has in its memory, cached what one has in a file.
	held, cached = 64 * megabyte, 32 * megabyte
)

// reading is a value that an agent told, and the time that it told with it.
type reading struct {
	at    time.Time
	value float64
}

// readings are all that an agent told of one thing, by "WHERE OF WHAT".
type readings map[string][]reading

// add takes in what is not known yet.
func (r readings) add(where, of, what string, at time.Time, value float64) {
	key := where + " " + of + " " + what
	if n := len(r[key]); n > 0 && !at.After(r[key][n-1].at) {
		return
	}
	r[key] = append(r[key], reading{at, value})
}

// busyPods burn a known share of a processor and hold known memory.
func busyPods() []*corev1.Pod {
	burn := "while :; do :; done"
	// What tail has read it keeps, since nobody reads it from there.
	hold := func(bytes int) string { return fmt.Sprintf("head -c %d /dev/zero | tail -c %[1]d | sleep 3600", bytes) }
	// What is in the cache of a file is used, but is not in the working set.
	file := fmt.Sprintf("head -c %d /dev/zero > /tmp/file; ", cached)
	pods := []*corev1.Pod{
		bedtest.NewPod("burner", 1, burn, burn), bedtest.NewPod("holder", 1, hold(held)), bedtest.NewPod("cacher", 1, file+hold(32*megabyte)),
	}
	for i, share := range []string{"100m", "300m"} {
		pods[0].Spec.Containers[i].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(share)}
	}
	return pods
}

// TestValues: what an agent says of processors and memory over a minute is what
// the kernel counted in that time.
func TestValues(t *testing.T) {
	names := []string{bed.Kubelet, bed.Nodeagent}
	if name := os.Getenv(bed.AgentEnv); name != "" {
		names = []string{name}
	}
	for _, agent := range names {
		t.Run(agent, func(t *testing.T) { values(t, agent) })
	}
}

func values(t *testing.T, agent string) {
	b := bed.Start(t, options(agent))
	bedtest.ShowLog(t, b)
	groups := map[string]string{"node": "/"}
	for _, p := range busyPods() {
		bedtest.Create(t, b, p)
		p = bedtest.Await(t, b.Client(), p.Name, "ready", patience, bedtest.Ready)
		var err error
		groups[p.Name], err = findGroup(b, "pod"+string(p.UID))
		must(t, "finding the cgroup of a pod", err)
		for _, s := range p.Status.ContainerStatuses {
			_, id, _ := strings.Cut(s.ContainerID, "://")
			groups[p.Name+"/"+s.Name], err = findGroup(b, id)
			must(t, "finding the cgroup of a container", err)
		}
	}
	stop := follow(t, groups, countEvery)
	told := readings{}
	f := newFetcher(t, b)
	for pod, most := range map[string]float64{"holder": held, "cacher": 32*megabyte + cached} {
		must(t, "waiting until memory is held", grown(t.Context(), groups[pod], most))
	}
	// The kubelet says what it counted up to 15 seconds ago.
	bedtest.Pause(t.Context(), 20*time.Second)
	for began := time.Now(); time.Since(began) < *valuesFor; bedtest.Pause(t.Context(), askValues) {
		must(t, "asking for values", f.values(t.Context(), told))
	}
	bedtest.Pause(t.Context(), 2*time.Second) // the kernel is asked beyond the last second
	judgeValues(t, told, stop())
}

// judgeValues compares all that was told with what the kernel said.
func judgeValues(t *testing.T, told readings, kernel map[string]*history) {
	t.Helper()
	var lines []string
	expected := 0
	for _, key := range slices.Sorted(maps.Keys(told)) {
		parts := strings.Fields(key)
		where, of, what := parts[0], parts[1], parts[2]
		h := kernel[of]
		if h == nil || !worth(of, what) {
			continue
		}
		expected++
		var wrong float64
		var err error
		switch {
		case what == "nanoCores":
			wrong, err = wrongRate(told[key], told[where+" "+of+" "+cpuNanos], h)
		case what == cpuNanos && where == "summary":
			wrong, err = wrongSeconds(told[key], h)
		case what == cpuNanos:
			wrong, err = wrongCounter(told[key], h)
		default:
			wrong, err = wrongLevel(what, told[key], h)
		}
		line := fmt.Sprintf("%-36s %3d values, %6.2f %% wrong", key, len(told[key]), wrong)
		if err != nil {
			line = fmt.Sprintf("%-36s %3d values: %v", key, len(told[key]), err)
		}
		lines = append(lines, line)
		if (err != nil || wrong > *mostWrong) && !*printWrong {
			t.Errorf("%s, at most %g %%", line, *mostWrong)
		}
	}
	t.Logf("what it told beside what the kernel counted:\n%s", strings.Join(lines, "\n"))
	// Processor time of the node, a pod and two containers, told in four ways; the
	// working set of two pods and two containers in three ways, in two of which
	// usage is told, too, and for half of them RSS.
	const want = 4*4 + 4*3 + 4*2 + 2*2
	if expected < want {
		t.Errorf("it told only %d things of those that are compared, want at least %d", expected, want)
	}
}

// worth says what is compared: processor time of what burns it, memory of what
// holds some.
func worth(of, what string) bool {
	if what == cpuNanos || what == "nanoCores" {
		return of == "node" || strings.HasPrefix(of, "burner")
	}
	return strings.HasPrefix(of, "holder") || strings.HasPrefix(of, "cacher") && what != rss
}

// ends are the first and the last reading; they have to be a minute apart.
func ends(all []reading) (first, last reading, err error) {
	first, last = all[0], all[len(all)-1]
	if last.at.Sub(first.at) < minute {
		return first, last, fmt.Errorf("the first was told at %s, the last at %s: less than a minute", first.at, last.at)
	}
	return first, last, nil
}

func percent(got, want float64) float64 { return 100 * math.Abs(got-want) / want }

// wrongCounter compares what a counter went up by.
func wrongCounter(all []reading, h *history) (float64, error) {
	first, last, err := ends(all)
	if err != nil {
		return 0, err
	}
	before, err := h.at(cpuNanos, first.at)
	if err != nil {
		return 0, err
	}
	after, err := h.at(cpuNanos, last.at)
	return percent(last.value-first.value, after-before), err
}

// wrongSeconds is for counters told with whole seconds: each value must have been
// there within its second. What it is off is a share of the whole time.
func wrongSeconds(all []reading, h *history) (float64, error) {
	first, last, err := ends(all)
	if err != nil {
		return 0, err
	}
	off := time.Duration(0)
	for _, one := range []reading{first, last} {
		was, err := h.when(cpuNanos, one.value)
		if err != nil {
			return 0, err
		}
		off += max(one.at.Sub(was), was.Sub(one.at.Add(time.Second)), 0)
	}
	return 100 * off.Seconds() / last.at.Sub(first.at).Seconds(), nil
}

// wrongRate is for rates, each told with the counter whose rate it is: from both
// follows what time passed between two of them, and all of it together is known.
func wrongRate(rates, counted []reading, h *history) (float64, error) {
	first, last, err := ends(counted)
	if err != nil {
		return 0, err
	}
	if len(rates) != len(counted) {
		return 0, fmt.Errorf("there are %d rates and %d counts", len(rates), len(counted))
	}
	passed := 0.0
	for i := range rates[1:] {
		if rates[i+1].value <= 0 {
			return 0, fmt.Errorf("the rate is %g at %s", rates[i+1].value, rates[i+1].at)
		}
		passed += (counted[i+1].value - counted[i].value) / rates[i+1].value
	}
	from, err := h.when(cpuNanos, first.value)
	if err != nil {
		return 0, err
	}
	to, err := h.when(cpuNanos, last.value)
	return percent(passed, to.Sub(from).Seconds()), err
}

// wrongLevel compares means.
func wrongLevel(what string, all []reading, h *history) (float64, error) {
	if _, _, err := ends(all); err != nil {
		return 0, err
	}
	got, want := 0.0, 0.0
	for _, one := range all {
		was, err := h.at(what, one.at)
		if err != nil {
			return 0, err
		}
		got, want = got+one.value, want+was
	}
	if want < megabyte {
		return 0, fmt.Errorf("the kernel says that only %g bytes are held", want/float64(len(all)))
	}
	return percent(got, want), nil
}

// values asks everybody who tells processor time and memory.
func (f *fetcher) values(ctx context.Context, told readings) error {
	for _, endpoint := range []string{"resource", "cadvisor"} {
		a, err := f.get(ctx, endpoint, asPlain)
		if err != nil {
			return err
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(bytes.NewReader(a.body))
		if err != nil {
			return fmt.Errorf("read %s: %w", endpoint, err)
		}
		for name, what := range map[string]string{
			"node_cpu_usage_seconds_total": cpuNanos, "pod_cpu_usage_seconds_total": cpuNanos, "container_cpu_usage_seconds_total": cpuNanos,
			"pod_memory_working_set_bytes": workingSet, "container_memory_working_set_bytes": workingSet,
			"container_memory_usage_bytes": usage, "container_memory_rss": rss,
		} {
			for _, m := range families[name].GetMetric() {
				labels := map[string]string{}
				for _, l := range m.GetLabel() {
					labels[l.GetName()] = l.GetValue()
				}
				value := valueOf(m)
				if what == cpuNanos {
					value *= 1e9
				}
				if of := subject(labels); of != "" && m.TimestampMs != nil {
					told.add(endpoint, of, what, time.UnixMilli(m.GetTimestampMs()), value)
				}
			}
		}
	}
	a, err := f.get(ctx, "summary", asPlain)
	if err != nil {
		return err
	}
	var s stats.Summary
	if err := json.Unmarshal(a.body, &s); err != nil {
		return fmt.Errorf("read the summary: %w", err)
	}
	told.summary("node", s.Node.CPU, nil)
	for _, p := range s.Pods {
		told.summary(p.PodRef.Name, p.CPU, p.Memory)
		for _, c := range p.Containers {
			told.summary(p.PodRef.Name+"/"+c.Name, c.CPU, c.Memory)
		}
	}
	return nil
}

// subject is who a row is about, as the history calls it; sandboxes are nobody.
func subject(labels map[string]string) string {
	switch {
	case labels["pod"] == "" && (labels["id"] == "/" || labels["id"] == ""):
		return "node"
	case labels["pod"] == "" || labels["container"] == "" && labels["name"] != "":
		return ""
	case labels["container"] == "":
		return labels["pod"]
	default:
		return labels["pod"] + "/" + labels["container"]
	}
}

// summary takes in what the summary says of somebody. Memory is told with its
// second: it stays as it is.
func (r readings) summary(of string, cpu *stats.CPUStats, memory *stats.MemoryStats) {
	put := func(what string, at metav1.Time, value *uint64) {
		if value != nil {
			r.add("summary", of, what, at.Time, float64(*value))
		}
	}
	if cpu != nil {
		put(cpuNanos, cpu.Time, cpu.UsageCoreNanoSeconds)
		put("nanoCores", cpu.Time, cpu.UsageNanoCores)
	}
	if memory != nil {
		put(usage, memory.Time, memory.UsageBytes)
		put(workingSet, memory.Time, memory.WorkingSetBytes)
		put(rss, memory.Time, memory.RSSBytes)
	}
}
