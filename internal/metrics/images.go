package metrics

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
)

// Images counts pulls and what is shown to registries.
type Images struct {
	ensured, checks *prometheus.CounterVec
	pulls           *prometheus.HistogramVec
	providerErrors  *prometheus.CounterVec
	providerTook    *prometheus.HistogramVec
	registry        factory
}

func newImages(f factory) *Images {
	return &Images{
		registry: f,
		ensured: f.counters("kubelet_image_manager_ensure_image_requests_total", "Images that were asked for on behalf of pods.",
			"pull_policy", "present_locally", "pull_required"),
		checks: f.counters("kubelet_imagemanager_image_mustpull_checks_total", "Checks whether a pod may use an image that is there, by result.", "result"),
		pulls: f.histograms("kubelet_image_pull_duration_seconds", "How long pulls took, the wait for their turn included, by the image's size.",
			pullBuckets(), "image_size_in_bytes"),
		providerErrors: f.counters("kubelet_credential_provider_plugin_errors_total", "Failed runs of credential providers.", "plugin_name"),
		providerTook:   f.histograms("kubelet_credential_provider_plugin_duration", "How long runs of credential providers took, in seconds.", prometheus.DefBuckets, "plugin_name"),
	}
}

// Ensured counts an image that was asked for. present and pull are whether it was
// there and whether it had to be pulled; nil: that was not found out.
func (i *Images) Ensured(policy corev1.PullPolicy, present, pull *bool) {
	word := func(b *bool) string {
		if b == nil {
			return "unknown"
		}
		return strconv.FormatBool(*b)
	}
	switch policy {
	case corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		policy = other
	}
	i.ensured.WithLabelValues(strings.ToLower(string(policy)), word(present), word(pull)).Inc()
}

// Pulled counts a pull that a pod waited for; size is in bytes, 0: unknown.
func (i *Images) Pulled(took time.Duration, size int64) {
	observe(i.pulls.WithLabelValues(sizeLabel(size)), took)
}

// Checked counts a check whether a pod may use an image. The result is one of the
// record keeper's words.
func (i *Images) Checked(result string) { i.checks.WithLabelValues(result).Inc() }

// Provider counts a run of a credential provider; their names are in the node's
// configuration.
func (i *Images) Provider(name string, took time.Duration, failed bool) {
	observe(i.providerTook.WithLabelValues(name), took)
	if failed {
		i.providerErrors.WithLabelValues(name).Inc()
	}
}

// Providers shows the hash of the configuration of the credential providers.
func (i *Images) Providers(hash string) {
	i.registry.gauges("kubelet_credential_provider_config_info", "The configuration of credential providers, as a hash.", "hash").WithLabelValues(hash).Set(1)
}

// Records shows how many pulls and pulled images are on record. It is called once;
// sizes is asked at each scrape.
func (i *Images) Records(sizes func() (intents, records int)) {
	i.registry.to.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "kubelet_imagemanager_ondisk_pullintents", Help: "Pulls that were begun, on the disk.",
		}, func() float64 { n, _ := sizes(); return float64(n) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "kubelet_imagemanager_ondisk_pulledrecords", Help: "Images that were pulled, on the disk.",
		}, func() float64 { _, n := sizes(); return float64(n) }))
}
