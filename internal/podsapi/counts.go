package podsapi

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1alpha1 "k8s.io/kubelet/pkg/apis/pods/v1alpha1"
)

// version is how the counters name the API's version.
const version = "v1alpha1"

// counts are the kubelet's counters of this API (pkg/kubelet/metrics). A call is
// counted when it has ended, a watch, too.
type counts struct {
	total, list, get, watch *prometheus.CounterVec
	dropped                 prometheus.Counter
}

func newCounts() counts {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "kubelet", Name: name, Help: help},
			[]string{"server_api_version", "status_code"})
	}
	return counts{
		total: counter("pod_requests_total", "Calls of the pods API by how they ended."),
		list:  counter("pod_requests_list_total", "Calls of the pods API's ListPods by how they ended."),
		get:   counter("pod_requests_get_total", "Calls of the pods API's GetPod by how they ended."),
		watch: counter("pod_requests_watch_total", "Calls of the pods API's WatchPods by how they ended."),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "kubelet", Name: "pod_watch_events_dropped_total",
			Help: "Events that watchers of the pods API could not be sent."}),
	}
}

func (c *counts) all() []prometheus.Collector {
	return []prometheus.Collector{c.total, c.list, c.get, c.watch, c.dropped}
}

// unary counts calls.
func (c *counts) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	switch info.FullMethod {
	case v1alpha1.Pods_ListPods_FullMethodName:
		c.count(c.list, err)
	case v1alpha1.Pods_GetPod_FullMethodName:
		c.count(c.get, err)
	}
	return resp, err
}

// stream counts watches.
func (c *counts) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	err := next(srv, ss)
	if info.FullMethod == v1alpha1.Pods_WatchPods_FullMethodName {
		c.count(c.watch, err)
	}
	return err
}

func (c *counts) count(of *prometheus.CounterVec, err error) {
	code := status.Code(err)
	if errors.Is(err, context.Canceled) {
		code = codes.Canceled
	}
	c.total.WithLabelValues(version, code.String()).Inc()
	of.WithLabelValues(version, code.String()).Inc()
}
