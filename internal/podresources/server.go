package podresources

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	v1 "k8s.io/kubelet/pkg/apis/podresources/v1"
	"k8s.io/kubelet/pkg/apis/podresources/v1alpha1"

	"nodeagent.dev/nodeagent/internal/localsocket"
	"nodeagent.dev/nodeagent/internal/pod"
)

// The versions of the API, as the counters name them.
const (
	version    = "v1"
	oldVersion = "v1alpha1"
)

// Views are snapshots of the node's pods, all of them, in any order.
type Views func() []*pod.View

// Config says what is served.
type Config struct {
	// RootDir is the agent's root directory.
	RootDir string
	// Ended lists pods that have ended, too (the feature gate
	// KubeletPodResourcesListUseActivePods is off).
	Ended bool
}

// Server answers calls, and counts them.
type Server struct {
	cfg    Config
	views  Views
	log    *zap.Logger
	counts counts
}

// New returns a server that does not listen yet.
func New(cfg Config, views Views, log *zap.Logger) *Server {
	return &Server{cfg: cfg, views: views, log: log, counts: newCounts()}
}

// SocketPath is where an agent with the given root directory listens.
func SocketPath(rootDir string) string {
	return filepath.Join(rootDir, "pod-resources", "kubelet.sock")
}

// Run serves until ctx ends. The error is always nil.
func (s *Server) Run(ctx context.Context) error {
	return localsocket.Serve(ctx, localsocket.Config{Path: SocketPath(s.cfg.RootDir), Register: func(r grpc.ServiceRegistrar) {
		v1.RegisterPodResourcesListerServer(r, lister{Server: s})
		v1alpha1.RegisterPodResourcesListerServer(r, oldLister{Server: s})
	}}, s.log)
}

// Collectors are its counters, under the kubelet's names.
func (s *Server) Collectors() []prometheus.Collector { return s.counts.all() }

// lister is the API's version v1.
type lister struct {
	v1.UnimplementedPodResourcesListerServer
	*Server
}

// List implements the API.
func (l lister) List(context.Context, *v1.ListPodResourcesRequest) (*v1.ListPodResourcesResponse, error) {
	l.counts.total.WithLabelValues(version).Inc()
	l.counts.list.WithLabelValues(version).Inc()
	wanted := active
	if l.cfg.Ended {
		wanted = everyone
	}
	resp := &v1.ListPodResourcesResponse{}
	for _, p := range chosen(l.views(), wanted) {
		resp.PodResources = append(resp.PodResources, resourcesOf(p))
	}
	return resp, nil
}

// GetAllocatableResources implements the API.
func (l lister) GetAllocatableResources(context.Context, *v1.AllocatableResourcesRequest) (*v1.AllocatableResourcesResponse, error) {
	l.counts.total.WithLabelValues(version).Inc()
	l.counts.allocatable.WithLabelValues(version).Inc()
	return &v1.AllocatableResourcesResponse{}, nil
}

// Get implements the API. The error has no status of its own, as the kubelet's.
func (l lister) Get(_ context.Context, req *v1.GetPodResourcesRequest) (*v1.GetPodResourcesResponse, error) {
	l.counts.total.WithLabelValues(version).Inc()
	l.counts.get.WithLabelValues(version).Inc()
	p := named(l.views(), req.GetPodNamespace(), req.GetPodName())
	if p == nil {
		l.counts.getErrors.WithLabelValues(version).Inc()
		return nil, fmt.Errorf("pod %s in namespace %s not found", req.GetPodName(), req.GetPodNamespace())
	}
	return &v1.GetPodResourcesResponse{PodResources: resourcesOf(p)}, nil
}

// oldLister is the API's version v1alpha1.
type oldLister struct {
	v1alpha1.UnimplementedPodResourcesListerServer
	*Server
}

// List implements the API.
func (l oldLister) List(context.Context, *v1alpha1.ListPodResourcesRequest) (*v1alpha1.ListPodResourcesResponse, error) {
	l.counts.total.WithLabelValues(oldVersion).Inc()
	resp := &v1alpha1.ListPodResourcesResponse{}
	for _, p := range chosen(l.views(), everyone) {
		resp.PodResources = append(resp.PodResources, oldResourcesOf(p))
	}
	return resp, nil
}

func everyone(*pod.View) bool { return true }
