package statsdiff

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"nodeagent.dev/nodeagent/test/diff"
)

// identity are the labels that say what a row is about.
var identity = []string{"container", "id", "image", "name", "namespace", "persistentvolumeclaim", "pod", "pod_uid", "uid"}

// Families whose values are the same whenever the same pods run: what was asked
// for, and what has happened once.
var steady = regexp.MustCompile(`^(container_spec_.*|container_threads_max|container_ulimits_soft|container_health_state|container_scrape_error|` +
	`container_swap_limit_bytes|machine_.*|resource_scrape_error|kubelet_(active|desired|mirror)_pods|kubelet_running_(pods|containers)|` +
	`kubelet_working_pods|kubelet_node_name|kubelet_cgroup_version|kubelet_managed_ephemeral_containers|kubelet_started_pods_total|` +
	`kubelet_started_pods_errors_total|kubelet_evictions|kubelet_server_expiration_renew_errors|` +
	`kubelet_volume_stats_(capacity_bytes|inodes)|kubernetes_healthcheck|volume_manager_total_volumes)$`)

// Labels whose values depend on the bed or on chance.
var chance = []string{"host", "code", "le", "quantile"}

// Whose label values are not looked at: what the Go runtime and the shared
// libraries count is the same code in both agents.
var shared = regexp.MustCompile(`^(go_|rest_client_|apiserver_|workqueue_)`)

// Rows are the samples of an endpoint that serves the text format.
type Rows struct {
	// Place replaces what is special about a run.
	Place func(string) string
	// Skip says which rows are about something else on the machine.
	Skip func(family string, labels map[string]string) bool
}

// Facts reads an exposition. What Prometheus would not take is an error.
func (r *Rows) Facts(text io.Reader) (diff.Facts, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return nil, fmt.Errorf("read what an endpoint says: %w", err)
	}
	facts := diff.Facts{}
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if err := r.family(facts, families[name]); err != nil {
			return nil, err
		}
	}
	return facts, nil
}

func (r *Rows) family(facts diff.Facts, f *dto.MetricFamily) error {
	name := f.GetName()
	keys, stamped, seen := map[string]bool{}, 0, map[string]bool{}
	for _, m := range f.GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		raw := fmt.Sprint(labels) // sorted by key
		if seen[raw] {
			return fmt.Errorf("read family %s: there are two rows %s", name, raw)
		}
		seen[raw] = true
		keys[strings.Join(slices.Sorted(maps.Keys(labels)), ",")] = true
		if m.TimestampMs != nil {
			stamped++
		}
		if !r.Skip(name, labels) {
			r.row(facts, name, m, labels)
		}
		if shape := bucketsOf(m); shape != "" {
			facts[name+" buckets"] = shape
		}
	}
	facts[name+" type"] = strings.ToLower(f.GetType().String())
	facts[name+" labels"] = strings.Join(slices.Sorted(maps.Keys(keys)), " or ")
	switch stamped {
	case 0:
		facts[name+" timestamps"] = "no"
	case len(f.GetMetric()):
		facts[name+" timestamps"] = "yes"
	default:
		facts[name+" timestamps"] = "some"
	}
	return nil
}

// row takes in what a sample is about.
func (r *Rows) row(facts diff.Facts, family string, m *dto.Metric, labels map[string]string) {
	about, text := r.about(labels), ""
	if steady.MatchString(family) {
		text = " value " + strconv.FormatFloat(valueOf(m), 'g', -1, 64)
	}
	rest := []string{}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if (about == "" || !slices.Contains(identity, key)) && !slices.Contains(chance, key) {
			rest = append(rest, key+":"+r.Place(labels[key]))
		}
	}
	switch {
	case about != "":
		var known []string
		for _, key := range identity {
			if value := labels[key]; value != "" {
				known = append(known, key+":"+r.Place(value))
			}
		}
		facts[family+" on "+about+braced(rest)] = strings.Join(known, " ") + text
	case text != "":
		facts[family+braced(rest)] = "row" + text
	case !shared.MatchString(family):
		for _, one := range rest {
			facts[family+braced([]string{one})] = "seen"
		}
	}
}

func braced(labels []string) string {
	if len(labels) == 0 {
		return ""
	}
	return " {" + strings.Join(labels, ",") + "}"
}

// about says which pod, container or group of pods a row is about; "" is none.
func (r *Rows) about(labels map[string]string) string {
	pod, container := r.Place(labels["pod"]), labels["container"]
	switch {
	case pod != "" && container != "":
		return pod + "/" + container
	case pod != "" && labels["name"] != "":
		return pod + "/(sandbox)"
	case pod != "":
		return pod + "/(pod)"
	case labels["id"] != "":
		return "id " + r.Place(labels["id"])
	case labels["persistentvolumeclaim"] != "":
		return "claim " + labels["persistentvolumeclaim"]
	default:
		return ""
	}
}

func valueOf(m *dto.Metric) float64 {
	switch {
	case m.GetGauge() != nil:
		return m.GetGauge().GetValue()
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	default:
		return m.GetUntyped().GetValue()
	}
}

// bucketsOf is the shape of a histogram or a summary.
func bucketsOf(m *dto.Metric) string {
	var all []string
	for _, b := range m.GetHistogram().GetBucket() {
		all = append(all, strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64))
	}
	for _, q := range m.GetSummary().GetQuantile() {
		all = append(all, "q"+strconv.FormatFloat(q.GetQuantile(), 'g', -1, 64))
	}
	return strings.Join(all, " ")
}
