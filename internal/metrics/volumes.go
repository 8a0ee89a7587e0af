package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// unknownType is the kubelet's word for a type of volume that is not known.
const unknownType = "N/A"

// Volumes counts work on volumes, and volumes during a scrape.
type Volumes struct {
	views func() []*pod.View
	// typeOf is the qualified name of a volume's type.
	typeOf atomic.Pointer[func(*corev1.Volume) string]

	took  *prometheus.HistogramVec
	total *prometheus.HistogramVec
	count *prometheus.Desc
}

func newVolumes(f factory, views func() []*pod.View) *Volumes {
	v := &Volumes{
		views: views,
		took: f.histograms("storage_operation_duration_seconds", "How long mounting and unmounting volumes took.", storageBuckets(),
			"volume_plugin", "operation_name", "status", "migrated"),
		total: f.histograms("volume_operation_total_seconds", "How long mounting volumes took from end to end.", storageBuckets(), "plugin_name", "operation_name"),
		count: prometheus.NewDesc("volume_manager_total_volumes", "Volumes of pods, wanted and mounted.", []string{"plugin_name", "state"}, nil),
	}
	f.to.MustRegister(v)
	return v
}

// Types says how to find the qualified name of a volume's type; empty: unknown.
func (v *Volumes) Types(of func(*corev1.Volume) string) { v.typeOf.Store(&of) }

// Operation counts a volume that was mounted or unmounted.
func (v *Volumes) Operation(plugin string, unmount bool, took time.Duration, err error) {
	operation, status := "volume_mount", "success"
	if unmount {
		operation = "volume_unmount"
	}
	if err != nil {
		status = "fail-unknown"
	}
	if plugin == "" {
		plugin = unknownType
	}
	observe(v.took.WithLabelValues(plugin, operation, status, "false"), took)
	if err == nil {
		observe(v.total.WithLabelValues(plugin, "overall_"+operation), took)
	}
}

// Describe implements prometheus.Collector.
func (v *Volumes) Describe(ch chan<- *prometheus.Desc) { ch <- v.count }

// Collect implements prometheus.Collector.
func (v *Volumes) Collect(ch chan<- prometheus.Metric) {
	typeOf := v.typeOf.Load()
	if typeOf == nil {
		return // no pod can have any yet
	}
	type row struct{ plugin, state string }
	rows := map[row]int{}
	for _, view := range v.views() {
		if view.Pod == nil {
			continue
		}
		mounted := false
		for _, p := range view.Phases {
			mounted = mounted || p.Name == "volumes"
		}
		for i := range view.Pod.Spec.Volumes {
			name := (*typeOf)(&view.Pod.Spec.Volumes[i])
			if name == "" {
				name = unknownType
			}
			if view.Stage != "Terminated" {
				rows[row{name, "desired_state_of_world"}]++
			}
			if mounted {
				rows[row{name, "actual_state_of_world"}]++
			}
		}
	}
	for r, n := range rows {
		ch <- prometheus.MustNewConstMetric(v.count, prometheus.GaugeValue, float64(n), r.plugin, r.state)
	}
}
