package stats

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"
)

// family is one of /metrics/resource. The names, types and help texts are the
// kubelet's (resource_metrics.go), in the order of the names.
type family struct {
	name, help string
	kind       dto.MetricType
	// of returns the value for a row, if the family shows one.
	of func(r *Row) (float64, bool)
	// untimed leaves the time of the sample out.
	untimed bool
}

const (
	counter = dto.MetricType_COUNTER
	gauge   = dto.MetricType_GAUGE
)

// scrapeError is the family that says whether the others could be read.
const (
	scrapeError     = "resource_scrape_error"
	scrapeErrorHelp = "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise"
)

func families() []family {
	container, onlyPod, node := only(KindContainer), only(KindPod), only(KindRoot)
	return []family{
		{name: "container_cpu_usage_seconds_total", kind: counter, of: container(cpuSeconds), help: "[STABLE] Cumulative cpu time consumed by the container in core-seconds"},
		{name: "container_memory_working_set_bytes", kind: gauge, of: container(workingSet), help: "[STABLE] Current working set of the container in bytes"},
		{name: "container_start_time_seconds", kind: gauge, of: container(started), help: "[STABLE] Start time of the container since unix epoch in seconds", untimed: true},
		{name: "container_swap_limit_bytes", kind: gauge, of: container(swapLimit), help: "[ALPHA] Current amount of the container swap limit in bytes. Reported only on non-windows systems"},
		{name: "container_swap_usage_bytes", kind: gauge, of: container(swapUsage), help: "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems"},
		{name: "node_cpu_usage_seconds_total", kind: counter, of: node(cpuSeconds), help: "[STABLE] Cumulative cpu time consumed by the node in core-seconds"},
		{name: "node_memory_working_set_bytes", kind: gauge, of: node(workingSet), help: "[STABLE] Current working set of the node in bytes"},
		{name: "node_swap_usage_bytes", kind: gauge, of: node(swapUsage), help: "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems"},
		{name: "pod_cpu_usage_seconds_total", kind: counter, of: onlyPod(cpuSeconds), help: "[STABLE] Cumulative cpu time consumed by the pod in core-seconds"},
		{name: "pod_memory_working_set_bytes", kind: gauge, of: onlyPod(workingSet), help: "[STABLE] Current working set of the pod in bytes"},
		{name: "pod_swap_usage_bytes", kind: gauge, of: onlyPod(swapUsage), help: "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems"},
	}
}

// only shows values of one kind of rows.
func only(kind Kind) func(of func(*Row) (float64, bool)) func(*Row) (float64, bool) {
	return func(of func(*Row) (float64, bool)) func(*Row) (float64, bool) {
		return func(r *Row) (float64, bool) {
			if r.Kind != kind {
				return 0, false
			}
			return of(r)
		}
	}
}

func cpuSeconds(r *Row) (float64, bool) {
	if r.CPU == nil {
		return 0, false
	}
	return float64(r.CPU.Total) / float64(time.Second), true
}

func workingSet(r *Row) (float64, bool) {
	if r.Memory == nil {
		return 0, false
	}
	return float64(r.Memory.WorkingSet), true
}

func swapUsage(r *Row) (float64, bool) {
	if r.Memory == nil {
		return 0, false
	}
	return float64(r.Memory.Swap), true
}

func swapLimit(r *Row) (float64, bool) {
	if r.Memory == nil || r.Limits == nil || !r.Limits.HasSwap || r.Limits.Swap > noLimit {
		return 0, false
	}
	return float64(max(r.Limits.Swap, r.Memory.Swap)), true
}

func started(r *Row) (float64, bool) {
	return float64(r.Started.UnixNano()) / float64(time.Second), r.Started.Unix() > 0
}

// ResourceMetrics returns what serves /metrics/resource, in the formats that Prometheus
// and the kubelet know.
func (s *Summarizer) ResourceMetrics() http.Handler {
	all := families()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gather := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return s.resources(r.Context(), all), nil })
		promhttp.HandlerFor(gather, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	})
}

// resources makes the families from the cgroups of pods of which a container runs. They
// are made at once, and not by prometheus.Metric: of 500 pods there are 6,500 samples.
func (s *Summarizer) resources(ctx context.Context, all []family) []*dto.MetricFamily {
	failed := 0.0
	rows, err := s.reader.Rows(ctx, needResource)
	if err != nil {
		failed = 1
		if ctx.Err() == nil {
			s.log.Warn("cannot read what cgroups use; /metrics/resource shows none", zap.Error(err))
		}
	}
	rows = running(rows)
	labels := labelsOf(rows)
	made := make([]*dto.MetricFamily, 0, len(all)+1)
	for i := range all {
		if f := all[i].collect(rows, labels); len(f.Metric) > 0 {
			made = append(made, f)
		}
	}
	return append(made, &dto.MetricFamily{
		Name: new(scrapeError), Help: new(scrapeErrorHelp), Type: new(gauge), Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: &failed}}},
	})
}

func (f *family) collect(rows []Row, labels [][]*dto.LabelPair) *dto.MetricFamily {
	made := &dto.MetricFamily{Name: &f.name, Help: &f.help, Type: &f.kind}
	for i := range rows {
		value, ok := f.of(&rows[i])
		if !ok {
			continue
		}
		m := &dto.Metric{Label: labels[i]}
		if f.kind == counter {
			m.Counter = &dto.Counter{Value: &value}
		} else {
			m.Gauge = &dto.Gauge{Value: &value}
		}
		if !f.untimed {
			m.TimestampMs = new(rows[i].At.UnixMilli())
		}
		made.Metric = append(made.Metric, m)
	}
	return made
}

// running leaves pods out of which no container runs: the kubelet does not show them.
func running(rows []Row) []Row {
	kept := make([]Row, 0, len(rows))
	for i := 0; i < len(rows); {
		first := i
		has := rows[i].Kind < KindPod
		for i++; i < len(rows) && rows[first].Kind >= KindPod && rows[i].Pod.UID == rows[first].Pod.UID; i++ {
			has = has || rows[i].Kind == KindContainer
		}
		if has {
			kept = append(kept, rows[first:i]...)
		}
	}
	return kept
}

// labelsOf are the labels of rows, once for all families.
func labelsOf(rows []Row) [][]*dto.LabelPair {
	labels := make([][]*dto.LabelPair, len(rows))
	pair := func(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: new(valid(value))} }
	for i := range rows {
		r := &rows[i]
		if r.Kind != KindContainer && r.Kind != KindPod {
			continue
		}
		labels[i] = []*dto.LabelPair{pair("namespace", r.Pod.Namespace), pair("pod", r.Pod.Name)}
		if r.Kind == KindContainer {
			labels[i] = append([]*dto.LabelPair{pair("container", r.Container)}, labels[i]...)
		}
	}
	return labels
}

// valid makes UTF-8 of any name.
func valid(name string) string { return strings.ToValidUTF8(name, "?") }
