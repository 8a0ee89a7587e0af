package metrics

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// maxPulls bounds what is kept of the pulls for one pod: a pod has few images, but
// each may be tried for ever.
const maxPulls = 64

// Starts measures how long pods take to start. Like the kubelet it takes the time
// until the API server shows all containers started, and for the service level
// (pod startup latency SLI) it leaves out pulls, init containers, pods that could
// not be scheduled at once, and pods with volumes that are attached.
type Starts struct {
	seen       prometheus.Histogram
	sli, total *prometheus.HistogramVec
	first      prometheus.Gauge

	mu       sync.Mutex
	pods     map[types.UID]*starting
	firstSet bool
}

// starting is a pod that has not started yet.
type starting struct {
	// waiting are the begins of pulls that have not gone well yet, the oldest first,
	// pulled those that have.
	waiting []time.Time
	pulled  []span
}

type span struct{ from, to time.Time }

func newStarts(f factory) *Starts {
	return &Starts{
		seen: f.histogram("kubelet_pod_start_duration_seconds", "Time from first seeing a pod to the pod running.", startBuckets()),
		sli: f.histograms("kubelet_pod_start_sli_duration_seconds",
			"Time from a pod's creation until the API server shows its containers started, without pulls and init containers.", startBuckets()),
		total: f.histograms("kubelet_pod_start_total_duration_seconds",
			"Time from a pod's creation until the API server shows its containers started.", startBuckets()),
		first: f.gauge("kubelet_first_network_pod_start_sli_duration_seconds", "The same, without pulls, of the first pod with a network of its own."),
		pods:  map[types.UID]*starting{},
	}
}

// Launched begins with a pod that has not been on this node before.
func (s *Starts) Launched(p *corev1.Pod) {
	if p == nil || p.Status.StartTime != nil || pod.Terminal(p.Status.Phase) || unschedulable(p) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pods[p.UID] = &starting{}
}

// Retired forgets a pod.
func (s *Starts) Retired(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pods, uid)
}

// Pulling notes that a pod begins to wait for a pull.
func (s *Starts) Pulling(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pods[uid]; p != nil && len(p.waiting) < maxPulls {
		p.waiting = append(p.waiting, time.Now())
	}
}

// Pulled notes that a pull went well. As for the kubelet it counts from the first
// attempt.
func (s *Starts) Pulled(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pods[uid]; p != nil && len(p.waiting) > 0 && len(p.pulled) < maxPulls {
		p.pulled = append(p.pulled, span{p.waiting[0], time.Now()})
		p.waiting = p.waiting[1:]
	}
}

// Reported measures pods that have newly started: when their own status says so,
// and when the API server's does.
func (s *Starts) Reported(of pod.Spec, before, now *corev1.PodStatus, seen time.Time) {
	if now.Phase == corev1.PodRunning && (before.Phase == corev1.PodPending || before.Phase == "") {
		observe(s.seen, time.Since(seen))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pods[of.Pod.UID]
	if p == nil {
		return
	}
	if unschedulable(of.Pod) || pod.Terminal(of.Pod.Status.Phase) {
		delete(s.pods, of.Pod.UID)
		return
	}
	if started(of.Pod) {
		delete(s.pods, of.Pod.UID)
		s.measure(of.Pod, p, time.Now())
	}
}

// measure counts a pod that the API server shows started.
func (s *Starts) measure(of *corev1.Pod, p *starting, now time.Time) {
	total := now.Sub(of.CreationTimestamp.Time)
	observe(s.total.WithLabelValues(), total)
	if attached(of) {
		return
	}
	sli := total - together(p.pulled) - inited(&of.Status)
	observe(s.sli.WithLabelValues(), sli)
	if !of.Spec.HostNetwork && !s.firstSet {
		s.firstSet = true
		s.first.Set(sli.Seconds())
	}
}

// together is how long spans last that may overlap.
func together(spans []span) (d time.Duration) {
	slices.SortFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	var end time.Time
	for _, s := range spans {
		if s.from.Before(end) {
			s.from = end
		}
		if s.to.After(s.from) {
			d += s.to.Sub(s.from)
			end = s.to
		}
	}
	return d
}

// inited is how long init containers ran that have ended.
func inited(status *corev1.PodStatus) (d time.Duration) {
	for i := range status.InitContainerStatuses {
		if t := status.InitContainerStatuses[i].State.Terminated; t != nil {
			d += max(t.FinishedAt.Sub(t.StartedAt.Time), 0)
		}
	}
	return d
}

// started reports whether the API server shows all containers started.
func started(p *corev1.Pod) bool {
	for i := range p.Status.ContainerStatuses {
		if r := p.Status.ContainerStatuses[i].State.Running; r == nil || r.StartedAt.IsZero() {
			return false
		}
	}
	return len(p.Status.ContainerStatuses) >= len(p.Spec.Containers)
}

// attached reports whether a pod has volumes that are more than files of the API
// server or of its own.
func attached(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
		return v.Secret == nil && v.ConfigMap == nil && v.DownwardAPI == nil && v.EmptyDir == nil && v.Projected == nil
	})
}

func unschedulable(p *corev1.Pod) bool {
	c := pod.Condition(p.Status.Conditions, corev1.PodScheduled)
	return c != nil && c.Status == corev1.ConditionFalse
}
