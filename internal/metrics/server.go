package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Server counts the requests to the node's API.
type Server struct {
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
	upgraded *prometheus.CounterVec
}

func newServer(f factory) *Server {
	labels := []string{"method", "path", "server_type", "long_running"}
	return &Server{
		requests: f.counters("kubelet_http_requests_total", "Requests to the node's API.", labels...),
		took:     f.histograms("kubelet_http_requests_duration_seconds", "How long requests to the node's API took.", prometheus.DefBuckets, labels...),
		inFlight: f.gauges("kubelet_http_inflight_requests", "Requests to the node's API that are being served.", labels...),
		upgraded: f.counters("kubelet_websocket_streaming_requests_total", "Streams of exec, attach and port-forward through a WebSocket.", "subresource"),
	}
}

// Count counts what reaches a port of the node's API: readwrite or readonly.
func (s *Server) Count(port string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method, path := methodLabel(r.Method), pathLabel(r.URL.Path)
		long := strconv.FormatBool(longRunning(path))
		began := time.Now()
		s.requests.WithLabelValues(method, path, port, long).Inc()
		serving := s.inFlight.WithLabelValues(method, path, port, long)
		serving.Inc()
		defer func() {
			serving.Dec()
			observe(s.took.WithLabelValues(method, path, port, long), time.Since(began))
		}()
		next.ServeHTTP(w, r)
	})
}

// Upgraded counts streams that go through a WebSocket: exec, attach, portforward.
func (s *Server) Upgraded(what string) { s.upgraded.WithLabelValues(what).Inc() }
