package metrics

import (
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Node shows what the node is, and how long it took to be there.
type Node struct {
	started, booted time.Time

	preAgent, preRegistration, registration, postRegistration, whole prometheus.Gauge

	mu sync.Mutex
	// registering and registered are when the node was first about to be, and was,
	// created; ready: it is known when it was ready.
	registering, registered time.Time
	ready                   bool
}

func newNode(f factory, cfg Config) *Node {
	f.gauges("kubelet_node_name", "The node's name, as a label.", "node").WithLabelValues(cfg.NodeName).Set(1)
	f.gauge("kubelet_cgroup_version", "The version of cgroups that the node uses.").Set(float64(cfg.CgroupVersion))
	f.gauges("kubelet_metrics_provider", "Who reads what containers use.", "provider").WithLabelValues("nodeagent").Set(1)
	major, minor := versionNumbers(cfg.Version)
	f.gauges("kubernetes_build_info", "The version, as labels.", "major", "minor", "git_version", "git_commit", "git_tree_state", "build_date",
		"go_version", "compiler", "platform").WithLabelValues(major, minor, cfg.Version, "", "", "",
		runtime.Version(), runtime.Compiler, runtime.GOOS+"/"+runtime.GOARCH).Set(1)
	return &Node{
		started: cfg.Started, booted: cfg.Booted,
		preAgent:         f.gauge("kubelet_node_startup_pre_kubelet_duration_seconds", "Time from the machine's boot to the agent's start."),
		preRegistration:  f.gauge("kubelet_node_startup_pre_registration_duration_seconds", "Time from the agent's start to its first attempt to register the node."),
		registration:     f.gauge("kubelet_node_startup_registration_duration_seconds", "How long registering the node took."),
		postRegistration: f.gauge("kubelet_node_startup_post_registration_duration_seconds", "Time from the node's registration until it was ready."),
		whole:            f.gauge("kubelet_node_startup_duration_seconds", "Time from the machine's boot until the node was ready."),
	}
}

// versionNumbers are the first two numbers of a version: "1" and "37" of
// "v1.37.1+nodeagent.0.4".
func versionNumbers(version string) (major, minor string) {
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ = strings.Cut(rest, ".")
	return major, minor
}

// Registering notes that the node is about to be registered.
func (n *Node) Registering() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.registering.IsZero() {
		n.registering = time.Now()
	}
}

// Registered notes that the node was registered, not having been there before.
func (n *Node) Registered() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.registering.IsZero() || !n.registered.IsZero() {
		return
	}
	n.registered = time.Now()
	if !n.booted.IsZero() {
		n.preAgent.Set(n.started.Sub(n.booted).Seconds())
	}
	n.preRegistration.Set(n.registering.Sub(n.started).Seconds())
	n.registration.Set(n.registered.Sub(n.registering).Seconds())
}

// Ready notes that the API server knows the node to be ready.
func (n *Node) Ready() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.registered.IsZero() || n.ready {
		return
	}
	n.ready = true
	now := time.Now()
	n.postRegistration.Set(now.Sub(n.registered).Seconds())
	if !n.booted.IsZero() {
		n.whole.Set(now.Sub(n.booted).Seconds())
	}
}

// gates shows the feature gates.
type gates struct {
	all func(yield func(name, stage string, on bool))
}

func featureDesc() *prometheus.Desc {
	return prometheus.NewDesc("kubernetes_feature_enabled", "Feature gates: 1 for those that are on.", []string{"name", "stage"}, nil)
}

// Describe implements prometheus.Collector.
func (g gates) Describe(ch chan<- *prometheus.Desc) { ch <- featureDesc() }

// Collect implements prometheus.Collector.
func (g gates) Collect(ch chan<- prometheus.Metric) {
	if g.all == nil {
		return
	}
	desc := featureDesc()
	g.all(func(name, stage string, on bool) {
		value := 0.0
		if on {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, name, stage)
	})
}
