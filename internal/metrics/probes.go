package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Probes counts the runs of probes. It keeps its own figures instead of series with
// six labels: a run costs two look-ups, and a pod that is gone is dropped at once.
type Probes struct {
	views func() []*pod.View
	total *prometheus.Desc
	took  *prometheus.Desc

	mu   sync.Mutex
	pods map[types.UID]*probed
}

// probed are the figures of one pod.
type probed struct {
	namespace, name string
	probes          map[probeKey]*runs
}

type probeKey struct {
	container string
	kind      pod.ProbeKind
}

// runs are the figures of one probe.
type runs struct {
	successful, failed, unknown uint64
	// measured runs took so long together; the kubelet measures those that did not
	// fail.
	measured uint64
	seconds  float64
}

func newProbes(views func() []*pod.View) *Probes {
	return &Probes{
		views: views,
		total: prometheus.NewDesc("prober_probe_total", "Runs of probes of containers, by result.",
			[]string{"probe_type", "result", "container", "pod", "namespace", "pod_uid"}, nil),
		took: prometheus.NewDesc("prober_probe_duration_seconds", "How long runs of probes took that did not fail.",
			[]string{"probe_type", "container", "pod", "namespace"}, nil),
		pods: map[types.UID]*probed{},
	}
}

// Observe counts a run: "successful", "failed" or "unknown".
func (p *Probes) Observe(of *corev1.Pod, container string, kind pod.ProbeKind, result string, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.pods[of.UID]
	if all == nil {
		all = &probed{namespace: of.Namespace, name: of.Name, probes: map[probeKey]*runs{}}
		p.pods[of.UID] = all
	}
	key := probeKey{container, kind}
	r := all.probes[key]
	if r == nil {
		r = &runs{}
		all.probes[key] = r
	}
	switch result {
	case "successful":
		r.successful++
	case "failed":
		r.failed++
		return
	default:
		r.unknown++
	}
	r.measured++
	r.seconds += max(took, 0).Seconds()
}

// Retired drops the figures of a pod.
func (p *Probes) Retired(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pods, uid)
}

// Describe implements prometheus.Collector.
func (p *Probes) Describe(ch chan<- *prometheus.Desc) {
	ch <- p.total
	ch <- p.took
}

// durationKey names a row of durations, which do not tell two pods of one name
// apart: one that is on its way out and its successor are one row.
type durationKey struct{ kind, container, pod, namespace string }

// Collect implements prometheus.Collector.
func (p *Probes) Collect(ch chan<- prometheus.Metric) {
	there := map[types.UID]bool{}
	for _, v := range p.views() {
		there[v.Ref.UID] = true
	}
	took := map[durationKey]runs{}
	p.mu.Lock()
	defer p.mu.Unlock()
	for uid, all := range p.pods {
		if !there[uid] { // counted by a run that ended after its pod
			delete(p.pods, uid)
			continue
		}
		for key, r := range all.probes {
			kind := key.kind.String()
			for i, n := range [...]uint64{r.successful, r.failed, r.unknown} {
				if n > 0 {
					result := [...]string{"successful", "failed", "unknown"}[i]
					ch <- prometheus.MustNewConstMetric(p.total, prometheus.CounterValue, float64(n), kind, result, key.container, all.name, all.namespace, string(uid))
				}
			}
			if r.measured > 0 {
				name := durationKey{kind, key.container, all.name, all.namespace}
				sum := took[name]
				sum.measured += r.measured
				sum.seconds += r.seconds
				took[name] = sum
			}
		}
	}
	for k, r := range took {
		ch <- prometheus.MustNewConstHistogram(p.took, r.measured, r.seconds, nil, k.kind, k.container, k.pod, k.namespace)
	}
}
