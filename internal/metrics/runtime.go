package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Runtime counts what is asked of the container runtime and heard from it.
type Runtime struct {
	calls, errors *prometheus.CounterVec
	took          *prometheus.HistogramVec

	sandboxTook   *prometheus.HistogramVec
	sandboxErrors *prometheus.CounterVec

	relistTook, relistInterval, podRelist prometheus.Histogram

	streams, streamErrors prometheus.Counter
	eventAge              prometheus.Histogram

	cgroups  *prometheus.HistogramVec
	registry factory
}

func newRuntime(f factory) *Runtime {
	const operation, handler = "operation_type", "runtime_handler"
	return &Runtime{
		registry: f,
		calls:    f.counters("kubelet_runtime_operations_total", "Calls to the container runtime by operation.", operation),
		errors:   f.counters("kubelet_runtime_operations_errors_total", "Failed calls to the container runtime by operation.", operation),
		took: f.histograms("kubelet_runtime_operations_duration_seconds", "How long calls to the container runtime took.",
			prometheus.ExponentialBuckets(.005, 2.5, 14), operation),
		sandboxTook:    f.histograms("kubelet_run_podsandbox_duration_seconds", "How long making sandboxes of pods took, by runtime handler.", prometheus.DefBuckets, handler),
		sandboxErrors:  f.counters("kubelet_run_podsandbox_errors_total", "Sandboxes of pods that could not be made, by runtime handler.", handler),
		relistTook:     f.histogram("kubelet_pleg_relist_duration_seconds", "How long listing all pods of the runtime took.", prometheus.DefBuckets),
		relistInterval: f.histogram("kubelet_pleg_relist_interval_seconds", "Time between two lists of all pods of the runtime.", prometheus.DefBuckets),
		podRelist:      f.histogram("kubelet_pleg_pod_relist_duration_seconds", "How long a look at one pod in the runtime took.", prometheus.DefBuckets),
		streams:        f.counter("kubelet_evented_pleg_connection_success_count", "Event streams of the runtime that were opened."),
		streamErrors:   f.counter("kubelet_evented_pleg_connection_error_count", "Event streams of the runtime that could not be opened."),
		eventAge:       f.histogram("kubelet_evented_pleg_connection_latency_seconds", "How long events took from the runtime to the agent.", prometheus.DefBuckets),
		cgroups:        f.histograms("kubelet_cgroup_manager_duration_seconds", "How long work on cgroups of pods took, by operation.", prometheus.DefBuckets, operation),
	}
}

// Call counts a call to the runtime. operation is one of the client's own words.
func (r *Runtime) Call(operation string, took time.Duration, err error) {
	r.calls.WithLabelValues(operation).Inc()
	observe(r.took.WithLabelValues(operation), took)
	if err != nil {
		r.errors.WithLabelValues(operation).Inc()
	}
}

// Sandbox counts a sandbox that was asked for. handler is the runtime's name of
// the pod's RuntimeClass; the API server's administrators decide how many there are.
func (r *Runtime) Sandbox(handler string, took time.Duration, err error) {
	observe(r.sandboxTook.WithLabelValues(handler), took)
	if err != nil {
		r.sandboxErrors.WithLabelValues(handler).Inc()
	}
}

// Relisted counts a list of all pods.
func (r *Runtime) Relisted(took time.Duration) { observe(r.relistTook, took) }

// RelistedAfter counts the time between two of them.
func (r *Runtime) RelistedAfter(interval time.Duration) { observe(r.relistInterval, interval) }

// Looked counts a look at one pod.
func (r *Runtime) Looked(took time.Duration) { observe(r.podRelist, took) }

// Stream counts an attempt to open the event stream.
func (r *Runtime) Stream(err error) {
	if err != nil {
		r.streamErrors.Inc()
		return
	}
	r.streams.Inc()
}

// Event counts an event that took this long to arrive.
func (r *Runtime) Event(age time.Duration) { observe(r.eventAge, age) }

// Cgroup counts work on a cgroup: create, update, destroy.
func (r *Runtime) Cgroup(operation string, took time.Duration) {
	observe(r.cgroups.WithLabelValues(operation), took)
}

// LastSeen shows when the runtime last listed its pods. It is called once.
func (r *Runtime) LastSeen(when func() time.Time) {
	r.registry.to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kubelet_pleg_last_seen_seconds", Help: "When the runtime last listed its pods, in Unix seconds.",
	}, func() float64 { return unixSeconds(when()) }))
}
