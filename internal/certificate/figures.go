package certificate

import (
	"crypto/x509"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// clientFigures are counted about the client certificate.
type clientFigures struct{ failures prometheus.Counter }

func newClientFigures() clientFigures {
	return clientFigures{prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kubelet_certificate_manager_client_expiration_renew_errors", Help: "Counter of certificate renewal errors.",
	})}
}

// servingFigures are counted about the serving certificate.
type servingFigures struct {
	failures  prometheus.Counter
	rotations prometheus.Histogram
}

// lifetimes are the kubelet's buckets for the ages of certificates, in seconds:
// a minute to four years.
func lifetimes() []float64 {
	return []float64{60, 3600, 14400, 86400, 604800, 2592000, 7776000, 15552000, 31104000, 124416000}
}

func newServingFigures() servingFigures {
	return servingFigures{
		prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kubelet_server_expiration_renew_errors", Help: "Counter of certificate renewal errors.",
		}),
		prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kubelet_certificate_manager_server_rotation_seconds",
			Help:    "Histogram of the number of seconds the previous certificate lived before being rotated.",
			Buckets: lifetimes(),
		}),
	}
}

// ttl is a gauge of the seconds that a certificate is valid, negative after its
// end, +Inf for none.
func ttl(which, what string, leaf func() *x509.Certificate) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kubelet_certificate_manager_" + which + "_ttl_seconds",
		Help: "Gauge of the TTL (time-to-live) of " + what + ". The value is in seconds until certificate expiry " +
			"(negative if already expired). If it is invalid or unused, the value will be +INF.",
	}, func() float64 {
		if l := leaf(); l != nil {
			return math.Trunc(time.Until(l.NotAfter).Seconds())
		}
		return math.Inf(1)
	})
}

// Collectors are the figures about the client certificate, under the kubelet's
// names.
func (c *Client) Collectors() []prometheus.Collector {
	return []prometheus.Collector{c.figures.failures,
		ttl("client", "the Kubelet's client certificate", func() *x509.Certificate { return leafOf(c.shown.Load()) })}
}
