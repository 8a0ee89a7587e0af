package agent

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/lifecycle"
	"nodeagent.dev/nodeagent/internal/pod"
)

// metrics are the figures the agent counts itself, under the kubelet's names.
type metrics struct {
	registry       *prometheus.Registry
	runtimeOps     *prometheus.CounterVec
	runtimeErrors  *prometheus.CounterVec
	runtimeTook    *prometheus.HistogramVec
	relistTook     prometheus.Histogram
	relistInterval prometheus.Histogram
	workTook       *prometheus.HistogramVec
	podStart       prometheus.Histogram
	startedPods    prometheus.Counter
	started        *prometheus.CounterVec
	startErrors    *prometheus.CounterVec
	panics         prometheus.Counter
}

// startBuckets are the kubelet's buckets for pod start latencies, in seconds.
var startBuckets = []float64{0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600}

func newMetrics(nodeName, version string) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		registry:      prometheus.NewRegistry(),
		runtimeOps:    counter("kubelet_runtime_operations_total", "Calls to the container runtime by operation.", "operation_type"),
		runtimeErrors: counter("kubelet_runtime_operations_errors_total", "Failed calls to the container runtime by operation.", "operation_type"),
		runtimeTook: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kubelet_runtime_operations_duration_seconds",
			Help: "How long calls to the container runtime took.", Buckets: prometheus.ExponentialBuckets(.005, 2.5, 14)}, []string{"operation_type"}),
		relistTook:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kubelet_pleg_relist_duration_seconds", Help: "How long listing all pods of the runtime took.", Buckets: prometheus.DefBuckets}),
		relistInterval: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kubelet_pleg_relist_interval_seconds", Help: "Time between two lists of all pods of the runtime.", Buckets: prometheus.DefBuckets}),
		workTook: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kubelet_pod_worker_duration_seconds",
			Help: "How long one action of a pod's plan took.", Buckets: prometheus.DefBuckets}, []string{"operation_type"}),
		podStart:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kubelet_pod_start_duration_seconds", Help: "Time from first seeing a pod to the pod being ready.", Buckets: startBuckets}),
		startedPods: prometheus.NewCounter(prometheus.CounterOpts{Name: "kubelet_started_pods_total", Help: "Pod sandboxes started."}),
		started:     counter("kubelet_started_containers_total", "Containers started.", "container_type"),
		startErrors: counter("kubelet_started_containers_errors_total", "Failed starts of containers.", "container_type", "code"),
		panics:      prometheus.NewCounter(prometheus.CounterOpts{Name: "nodeagent_worker_panics_total", Help: "Pod workers that had to be rebuilt after a bug."}),
	}
	node := prometheus.NewGauge(prometheus.GaugeOpts{Name: "kubelet_node_name", Help: "The node's name, as a label.", ConstLabels: prometheus.Labels{"node": nodeName}})
	node.Set(1)
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "kubernetes_build_info", Help: "The version, as a label.", ConstLabels: prometheus.Labels{"git_version": version}})
	build.Set(1)
	m.registry.MustRegister(m.runtimeOps, m.runtimeErrors, m.runtimeTook, m.relistTook, m.relistInterval, m.workTook,
		m.podStart, m.startedPods, m.started, m.startErrors, m.panics, node, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// countPods registers what is counted when somebody asks: a look at the views.
func (m *metrics) countPods(views func() []*pod.View) {
	m.registry.MustRegister(podCollector{views})
}

// runtimeCall is the hook of the CRI client.
func (m *metrics) runtimeCall(operation string, took time.Duration, err error) {
	m.runtimeOps.WithLabelValues(operation).Inc()
	m.runtimeTook.WithLabelValues(operation).Observe(took.Seconds())
	if err != nil {
		m.runtimeErrors.WithLabelValues(operation).Inc()
	}
}

// hooks are the hooks of the workers.
func (m *metrics) hooks() lifecycle.Hooks {
	return lifecycle.Hooks{
		Operation: func(verb string, took time.Duration, err error) {
			m.workTook.WithLabelValues(verb).Observe(took.Seconds())
			switch {
			case verb == "StartContainer" && err == nil:
				m.started.WithLabelValues("container").Inc()
			case verb == "StartContainer":
				m.startErrors.WithLabelValues("container", pod.Reason(err, "CreateContainerError")).Inc()
			case verb == "CreateSandbox" && err == nil:
				m.startedPods.Inc()
			}
		},
		Ready: func(_ *corev1.Pod, took time.Duration) { m.podStart.Observe(took.Seconds()) },
		Panic: m.panics.Inc,
	}
}

var (
	runningPods       = prometheus.NewDesc("kubelet_running_pods", "Pods with a running container.", nil, nil)
	runningContainers = prometheus.NewDesc("kubelet_running_containers", "Containers by state.", []string{"container_state"}, nil)
	workingPods       = prometheus.NewDesc("kubelet_working_pods", "Pods by what is done with them.", []string{"config", "lifecycle", "static"}, nil)
)

// podCollector counts pods and containers at the time of the scrape.
type podCollector struct{ views func() []*pod.View }

// Describe implements prometheus.Collector.
func (c podCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- runningPods
	ch <- runningContainers
	ch <- workingPods
}

// Collect implements prometheus.Collector.
func (c podCollector) Collect(ch chan<- prometheus.Metric) {
	type work struct{ config, stage, static string }
	pods, states, working := 0, map[string]int{"running": 0, "exited": 0, "created": 0}, map[work]int{}
	for _, v := range c.views() {
		running := false
		for i := range v.Status.ContainerStatuses {
			switch s := &v.Status.ContainerStatuses[i].State; {
			case s.Running != nil:
				running = true
				states["running"]++
			case s.Terminated != nil:
				states["exited"]++
			}
		}
		if running {
			pods++
		}
		config := "desired"
		if v.Pod == nil {
			config = "runtime_only"
		}
		stage := map[string]string{"Syncing": "sync", "Terminating": "terminating", "Terminated": "terminated"}[v.Stage]
		working[work{config, stage, strconv.FormatBool(v.Source != "" && v.Source != pod.SourceAPI)}]++
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	gauge(runningPods, pods)
	for state, n := range states {
		gauge(runningContainers, n, state)
	}
	for w, n := range working {
		gauge(workingPods, n, w.config, w.stage, w.static)
	}
}
