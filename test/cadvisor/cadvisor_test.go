//go:build e2e

package cadvisor

import (
	"bufio"
	"context"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const recorded = "../../internal/stats/cadvisor/testdata/kubelet-v1.37.1-cgroupv1.txt"

// twoContainers is a pod whose first container has limits, and burns what it may.
func twoContainers(name string) *corev1.Pod {
	p := bedtest.NewPod(name, 1, "dd if=/dev/zero of=/dev/shm/x bs=1M count=24 2>/dev/null; while :; do :; done", bedtest.Obeys)
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
	}
	return p
}

// started makes a pod, and returns it and the page once it is ready and all of its
// rows are there.
func started(t *testing.T, b *bed.Bed, p *corev1.Pod) (*corev1.Pod, page) {
	t.Helper()
	bedtest.Create(t, b, p)
	p = bedtest.Await(t, b.Client(), p.Name, "ready", patience, bedtest.Ready)
	got := awaitPage(t, b, "rows of pod "+p.Name, func(got page) bool {
		for _, c := range p.Spec.Containers {
			if got.line("container_cpu_usage_seconds_total", map[string]string{"pod": p.Name, "container": c.Name}) == nil {
				return false
			}
		}
		// What has used no CPU yet has no such line; the kubelet reads each cgroup at
		// times of its own.
		return got.line("container_network_receive_bytes_total", map[string]string{"pod": p.Name}) != nil &&
			got.line("container_cpu_usage_seconds_total", map[string]string{"pod": p.Name, "name": ""}) != nil &&
			got.line("container_cpu_usage_seconds_total", map[string]string{"id": b.CgroupRoot + "/kubepods/burstable"}) != nil
	})
	return p, got
}

// TestFamiliesAndRows: all families of the kubelet, with its types, labels and
// timestamps, on the rows that have them there.
func TestFamiliesAndRows(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		t.Skip("recorded on cgroup v1")
	}
	b := shared.Bed(t)
	p, got := started(t, b, twoContainers("families"))
	file, err := os.Open(recorded)
	bedtest.Must(t, "opening what was recorded", err)
	defer file.Close()
	seen := map[string]bool{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		fields := strings.Fields(lines.Text())
		seen[fields[0]] = true
		checkFamily(t, got[fields[0]], p, fields)
	}
	// Machines with other hardware and other schedulers of disks have these, too.
	for _, name := range []string{"container_blkio_device_usage_total", "container_fs_reads_bytes_total", "container_fs_writes_bytes_total", "machine_dimm_count", "machine_dimm_capacity_bytes"} {
		seen[name] = true
	}
	for name := range got {
		if !seen[name] {
			t.Errorf("family %s is none of the kubelet's", name)
		}
	}
}

// checkFamily compares a family with a recorded line: name, type, labels, stamped or
// plain, kinds of rows.
func checkFamily(t *testing.T, f *dto.MetricFamily, p *corev1.Pod, want []string) {
	t.Helper()
	if f == nil {
		t.Errorf("family %s is missing", want[0])
		return
	}
	if got := strings.ToLower(f.GetType().String()); got != want[1] {
		t.Errorf("%s is a %s, want a %s", want[0], got, want[1])
	}
	kinds := map[string]bool{}
	for _, m := range f.GetMetric() {
		all := labels(m)
		if got := strings.Join(slices.Sorted(maps.Keys(all)), ","); got != want[2] && (want[2] != "-" || got != "") {
			t.Errorf("%s has labels %s, want %s", want[0], got, want[2])
			return
		}
		if stamped := m.TimestampMs != nil; stamped != (want[3] == "stamped") {
			t.Errorf("%s: has a timestamp: %v, want %s", want[0], stamped, want[3])
			return
		}
		if kind := kindOf(all, p); kind != "" {
			kinds[kind] = true
		}
	}
	wanted := map[string]bool{}
	for kind := range strings.SplitSeq(want[4], ",") {
		wanted[kind] = true
	}
	if !maps.Equal(kinds, wanted) {
		t.Errorf("%s is on rows %v, want %v", want[0], slices.Sorted(maps.Keys(kinds)), slices.Sorted(maps.Keys(wanted)))
	}
}

// kindOf is the kind of a row; other pods' rows are none.
func kindOf(l map[string]string, p *corev1.Pod) string {
	id, ok := l["id"]
	switch {
	case !ok:
		return "machine"
	case id == "/":
		return "root"
	case l["pod"] == p.Name && l["container"] != "":
		return "container"
	case l["pod"] == p.Name && l["name"] != "":
		return "sandbox"
	case l["pod"] == p.Name:
		return "pod"
	case l["pod"] == "" && strings.HasSuffix(id, "/burstable"):
		return "qos"
	default:
		return ""
	}
}

// TestLabels: what rows are called, and what their specs are.
func TestLabels(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	p, got := started(t, b, twoContainers("labels"))
	const family = "container_memory_working_set_bytes"
	for _, c := range p.Status.ContainerStatuses {
		_, id, _ := strings.Cut(c.ContainerID, "://")
		m := got.line(family, map[string]string{"pod": p.Name, "container": c.Name})
		l := labels(m)
		if l["name"] != id || l["namespace"] != bedtest.Namespace || l["image"] != bedtest.Image || !strings.HasSuffix(l["id"], "/pod"+string(p.UID)+"/"+id) {
			t.Errorf("container %s: labels %v", c.Name, l)
		}
		if age := time.Since(time.UnixMilli(m.GetTimestampMs())); age < -time.Second || age > time.Minute {
			t.Errorf("container %s was read %s ago", c.Name, age)
		}
	}
	sandbox := labels(got.line("container_network_receive_bytes_total", map[string]string{"pod": p.Name}))
	if sandbox["container"] != "" || sandbox["name"] == "" || sandbox["interface"] != "eth0" || !strings.Contains(sandbox["image"], "pause") || !strings.HasSuffix(sandbox["id"], "/"+sandbox["name"]) {
		t.Errorf("the sandbox: labels %v", sandbox)
	}
	pod := labels(got.line(family, map[string]string{"pod": p.Name, "name": ""}))
	if pod["container"] != "" || pod["image"] != "" || pod["namespace"] != bedtest.Namespace || !strings.HasSuffix(pod["id"], "/pod"+string(p.UID)) {
		t.Errorf("the pod: labels %v", pod)
	}
	for family, want := range map[string]float64{
		"container_spec_cpu_quota": 20000, "container_spec_cpu_period": 100000, "container_spec_cpu_shares": 102,
		"container_spec_memory_limit_bytes": 64 << 20, "container_health_state": -1,
	} {
		if m := got.line(family, map[string]string{"pod": p.Name, "container": "a"}); m == nil || value(m) != want {
			t.Errorf("%s: got %v, want %v", family, m, want)
		}
	}
	if m := got.line("container_processes", map[string]string{"pod": p.Name, "container": "a"}); m == nil || value(m) < 1 {
		t.Errorf("processes: %v", m)
	}
	// It is when the cgroup was made: a busy machine starts the process later.
	since := value(got.line("container_start_time_seconds", map[string]string{"pod": p.Name, "container": "a"}))
	if want := float64(p.Status.ContainerStatuses[0].State.Running.StartedAt.Unix()); math.Abs(since-want) > 20 {
		t.Errorf("started at %v, want %v", since, want)
	}
}

// watcher notes a figure of a cgroup again and again.
type watcher struct {
	mu    sync.Mutex
	times []time.Time
	sums  []float64
}

// watch reads a file that holds a number until the test ends.
func watch(t *testing.T, path string) *watcher {
	t.Helper()
	w := &watcher{}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	group.Go(func() {
		for tick := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; {
			if text, err := os.ReadFile(path); err == nil {
				n, _ := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
				w.mu.Lock()
				w.times, w.sums = append(w.times, time.Now()), append(w.sums, n)
				w.mu.Unlock()
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	return w
}

// at is the figure at a time, in between two that were read.
func (w *watcher) at(t *testing.T, when time.Time) float64 {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	i, _ := slices.BinarySearchFunc(w.times, when, time.Time.Compare)
	if i == 0 || i == len(w.times) {
		t.Fatalf("nothing was noted around %s", when)
	}
	share := float64(when.Sub(w.times[i-1])) / float64(w.times[i].Sub(w.times[i-1]))
	return w.sums[i-1] + share*(w.sums[i]-w.sums[i-1])
}

// TestFiguresAreTheCgroups: what the page says was used between two of its samples is
// what the cgroup says, within 2 %.
func TestFiguresAreTheCgroups(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		t.Skip("reads files of cgroup v1")
	}
	b := shared.Bed(t)
	p, _ := started(t, b, twoContainers("figures"))
	of := map[string]string{"pod": p.Name, "container": "a"}
	id := labels(scrape(t, b).line("container_memory_usage_bytes", of))["id"]
	cpu := watch(t, filepath.Join("/sys/fs/cgroup/cpuacct", id, "cpuacct.usage"))
	memory := watch(t, filepath.Join("/sys/fs/cgroup/memory", id, "memory.usage_in_bytes"))
	begin := time.Now()
	sample := func(after time.Time) (*dto.Metric, page) {
		var m *dto.Metric
		got := awaitPage(t, b, "a newer sample", func(got page) bool {
			m = got.line("container_cpu_usage_seconds_total", of)
			return m != nil && time.UnixMilli(m.GetTimestampMs()).After(after)
		})
		return m, got
	}
	first, _ := sample(begin.Add(time.Second))
	at1 := time.UnixMilli(first.GetTimestampMs())
	second, got := sample(at1.Add(20 * time.Second))
	at2 := time.UnixMilli(second.GetTimestampMs())
	time.Sleep(50 * time.Millisecond) // until a later one was noted
	said, was := value(second)-value(first), (cpu.at(t, at2)-cpu.at(t, at1))/1e9
	t.Logf("over %s: the page says %.3f s of CPU, the cgroup %.3f s", at2.Sub(at1), said, was)
	if was < 0.2 {
		t.Fatalf("the container has hardly run: %.3f s", was)
	}
	// The figure and its time are not taken at the same instant: what runs in between
	// is at most the quota of a period.
	if math.Abs(said-was) > 0.02*was+0.02 {
		t.Errorf("the page says %.3f s, the cgroup %.3f s", said, was)
	}
	m := got.line("container_memory_usage_bytes", of)
	if said, was := value(m), memory.at(t, time.UnixMilli(m.GetTimestampMs())); math.Abs(said-was) > 0.02*was || was < 24<<20 {
		t.Errorf("memory: the page says %.0f, the cgroup %.0f", said, was)
	}
	if m := got.line("container_memory_cache", of); value(m) < 24<<20 || value(m) > 32<<20 {
		t.Errorf("24 MiB of files in memory: got %v", m)
	}
	if m := got.line("container_cpu_cfs_periods_total", of); m == nil || value(m) < 10 {
		t.Errorf("periods: %v", m)
	}
}

// TestOutOfMemory: a process that the kernel kills is counted; the container lives on.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	p := bedtest.NewPod("oom", 1, "while [ ! -e /tmp/go ]; do sleep 1; done; tail /dev/zero; "+bedtest.Obeys)
	p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi")}
	p, got := started(t, b, p)
	of := map[string]string{"pod": p.Name, "container": "a"}
	if m := got.line("container_oom_events_total", of); m == nil || value(m) != 0 {
		t.Fatalf("before: %v", m)
	}
	if _, err := b.Kubectl(t.Context(), "exec", p.Name, "--", "touch", "/tmp/go"); err != nil {
		t.Fatal(err)
	}
	awaitPage(t, b, "an event of the container", func(got page) bool {
		m := got.line("container_oom_events_total", of)
		return m != nil && value(m) >= 1
	})
}

// TestCompressed: who asks for gzip gets it.
func TestCompressed(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	body, header := fetch(t, b, "gzip")
	if header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("header: %v", header)
	}
	if got := parse(t, unzip(t, body)); got["machine_cpu_cores"] == nil || got.line("container_memory_usage_bytes", map[string]string{"id": "/"}) == nil {
		t.Error("the page lacks the machine")
	}
}
