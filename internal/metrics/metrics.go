package metrics

import (
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	_ "k8s.io/component-base/metrics/prometheus/restclient" // counts client-go's requests
	_ "k8s.io/component-base/metrics/prometheus/workqueue"  // and its queues

	"k8s.io/component-base/metrics/legacyregistry"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	// scrapeLimit bounds how long a scrape may take.
	scrapeLimit = 10 * time.Second
	// maxScrapes bounds how many run at the same time.
	maxScrapes = 8
)

// Config is what is known when the agent starts.
type Config struct {
	NodeName string
	// Version is the node's kubeletVersion: "v1.37.1+nodeagent.0.4".
	Version string
	// Started is when the agent was started, Booted when the machine was; zero is
	// unknown.
	Started, Booted time.Time
	// CgroupVersion is 1 or 2.
	CgroupVersion int
	// TieredMemory: the memory that pods ask for is kept for them (MemoryQoS).
	TieredMemory bool
	// Gates calls its argument for every feature gate with its stage ("ALPHA",
	// "BETA", "", "DEPRECATED"); nil: there are none.
	Gates func(yield func(name, stage string, on bool))
	// Views are the snapshots of all pods.
	Views func() []*pod.View
}

// Metrics has a part for everybody who has something to count. All methods of the
// parts are safe for concurrent use.
type Metrics struct {
	Runtime *Runtime
	Pods    *Pods
	Starts  *Starts
	Resizes *Resizes
	Images  *Images
	Volumes *Volumes
	Server  *Server
	Node    *Node
	Probes  *Probes

	registry *prometheus.Registry
	probes   *prometheus.Registry
}

// New returns the metrics of an agent. What is shown of libraries is the
// process's; everything else is this agent's alone.
func New(cfg Config) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), probes: prometheus.NewRegistry()}
	f := factory{m.registry}
	m.Runtime, m.Pods, m.Starts, m.Resizes = newRuntime(f), newPods(f), newStarts(f), newResizes(f)
	m.Images, m.Volumes, m.Server, m.Node = newImages(f), newVolumes(f, cfg.Views), newServer(f), newNode(f, cfg)
	m.Probes = newProbes(cfg.Views)
	constants(f)
	m.registry.MustRegister(snapshot{views: cfg.Views, pods: m.Pods, tiered: cfg.TieredMemory}, gates{cfg.Gates})
	m.probes.MustRegister(m.Probes, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "process_start_time_seconds", Help: "When the agent was started, in Unix seconds.",
	}, func() float64 { return unixSeconds(cfg.Started) }))
	return m
}

// Register adds families that other packages keep. It fails when one is there
// already.
func (m *Metrics) Register(collectors ...prometheus.Collector) error {
	for _, c := range collectors {
		if err := m.registry.Register(c); err != nil {
			return fmt.Errorf("adding to the metrics: %w", err)
		}
	}
	return nil
}

// Gatherer gathers everything that /metrics shows.
func (m *Metrics) Gatherer() prometheus.Gatherer {
	return prometheus.Gatherers{m.registry, legacyregistry.DefaultGatherer}
}

// Handler serves /metrics.
func (m *Metrics) Handler() http.Handler { return handler(m.Gatherer()) }

// ProbesHandler serves /metrics/probes.
func (m *Metrics) ProbesHandler() http.Handler { return handler(m.probes) }

// handler shows what can be had even when something cannot.
func handler(g prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, Timeout: scrapeLimit, MaxRequestsInFlight: maxScrapes,
	})
}

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
