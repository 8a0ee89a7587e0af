package stats

import (
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// TestResourceMetrics compares the text, and has Prometheus' parser read it.
func TestResourceMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		v := w.reader.cfg.Pods()[0]
		v.Ref.Namespace = "n\"s\\\n\xff"
		rec := httptest.NewRecorder()
		w.ResourceMetrics().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics/resource", nil))
		text := rec.Body.String()
		parser := expfmt.NewTextParser(model.LegacyValidation)
		parsed, err := parser.TextToMetricFamilies(strings.NewReader(text))
		must(t, err)
		if len(parsed) != len(families())+1 {
			t.Errorf("%d families", len(parsed))
		}
		m := parsed["container_memory_working_set_bytes"].GetMetric()
		if len(m) != 2 || m[0].GetTimestampMs() != time.Now().UnixMilli() || m[0].GetGauge().GetValue() != 2000 {
			t.Errorf("%v", m)
		}
		golden(t, "resource.txt", text)
		time.Sleep(2 * shared)
	})
}

// TestResourceError: who cannot read says so, and shows nothing else.
func TestResourceError(t *testing.T) {
	w := newWorld(t)
	w.reader.sample = func(*scratch, Group, Need) (Sample, error) { return Sample{}, os.ErrNotExist }
	rec := httptest.NewRecorder()
	w.ResourceMetrics().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics/resource", nil))
	if text := rec.Body.String(); !strings.HasSuffix(text, "\nresource_scrape_error 1\n") || strings.Count(text, "\n") != 3 {
		t.Error(text)
	}
}

func TestCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		registry := prometheus.NewPedanticRegistry()
		must(t, registry.Register(w.Collector()))
		all, err := registry.Gather()
		must(t, err)
		var names []string
		for _, f := range all {
			names = append(names, f.GetName())
			if n := len(f.GetMetric()); n != 1 && f.GetName() != "kubelet_volume_metric_collection_duration_seconds" {
				t.Errorf("%s: %d samples", f.GetName(), n)
			}
		}
		want := []string{
			"kubelet_container_log_filesystem_used_bytes", "kubelet_volume_metric_collection_duration_seconds", "kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes",
			"kubelet_volume_stats_inodes", "kubelet_volume_stats_inodes_free", "kubelet_volume_stats_inodes_used", "kubelet_volume_stats_used_bytes",
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Error(diff)
		}
		if v := all[0].GetMetric()[0].GetGauge().GetValue(); v < 5000 {
			t.Errorf("the logs are %v bytes", v)
		}
	})
}
