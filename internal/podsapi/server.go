package podsapi

import (
	"context"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"
	v1alpha1 "k8s.io/kubelet/pkg/apis/pods/v1alpha1"

	"nodeagent.dev/nodeagent/internal/localsocket"
	"nodeagent.dev/nodeagent/internal/pod"
)

// maxWatchers bounds the watches at the same time.
const maxWatchers = 128

// Pods are snapshots of the node's pods.
type Pods interface {
	// Views returns all of them in any order, View the one of a UID or nil.
	Views() []*pod.View
	View(uid types.UID) *pod.View
	// Known reports whether all pods are among them: not in the first moments of
	// the agent.
	Known() bool
}

// Server answers calls, and counts them.
type Server struct {
	path     string
	pods     Pods
	log      *zap.Logger
	watchers watchers
	counts   counts
}

// New returns a server that does not listen yet. The socket is below the agent's
// root directory.
func New(rootDir string, pods Pods, log *zap.Logger) *Server {
	return &Server{path: SocketPath(rootDir), pods: pods, log: log, counts: newCounts()}
}

// SocketPath is where an agent with the given root directory listens.
func SocketPath(rootDir string) string {
	return filepath.Join(rootDir, "pods-api", "pods-api.sock")
}

// Run serves until ctx ends. The error is always nil.
func (s *Server) Run(ctx context.Context) error {
	return localsocket.Serve(ctx, localsocket.Config{
		Path: s.path, Unary: s.counts.unary, Stream: s.counts.stream,
		Register: func(r grpc.ServiceRegistrar) { v1alpha1.RegisterPodsServer(r, api{Server: s}) },
	}, s.log)
}

// Changed says that there is another view of a pod, or none any more. It is cheap
// and never waits.
func (s *Server) Changed(uid types.UID) { s.watchers.tell(uid) }

// Collectors are its counters, under the kubelet's names.
func (s *Server) Collectors() []prometheus.Collector { return s.counts.all() }

// api is the service.
type api struct {
	v1alpha1.UnimplementedPodsServer
	*Server
}

// notYet is the kubelet's text.
const notYet = "Kubelet is initializing" //nolint:misspell // as it is known

// ready returns the answer before the pods are known.
func (s *Server) ready() error {
	if !s.pods.Known() {
		return status.Error(codes.FailedPrecondition, notYet)
	}
	return nil
}

func unreadable(err error) error {
	return status.Errorf(codes.Internal, "failed to marshal pod: %v", err)
}

// ListPods implements the API: all pods of the node, by UID.
func (a api) ListPods(context.Context, *v1alpha1.ListPodsRequest) (*v1alpha1.ListPodsResponse, error) {
	if err := a.ready(); err != nil {
		return nil, err
	}
	resp := &v1alpha1.ListPodsResponse{}
	for _, v := range sorted(a.pods.Views()) {
		raw, err := encoded(v)
		if err != nil {
			return nil, unreadable(err)
		}
		resp.Pods = append(resp.Pods, raw)
	}
	return resp, nil
}

// GetPod implements the API.
func (a api) GetPod(_ context.Context, req *v1alpha1.GetPodRequest) (*v1alpha1.GetPodResponse, error) {
	if err := a.ready(); err != nil {
		return nil, err
	}
	v := a.pods.View(types.UID(req.GetPodUID()))
	if v == nil || v.Pod == nil {
		return nil, status.Errorf(codes.NotFound, "pod with UID %s not found", req.GetPodUID())
	}
	raw, err := encoded(v)
	if err != nil {
		return nil, unreadable(err)
	}
	return &v1alpha1.GetPodResponse{Pod: raw}, nil
}

// WatchPods implements the API: all pods, a mark that these are all, and from
// then on what changes.
func (a api) WatchPods(_ *v1alpha1.WatchPodsRequest, stream grpc.ServerStreamingServer[v1alpha1.WatchPodsEvent]) error {
	if err := a.ready(); err != nil {
		return err
	}
	w := a.watchers.join(maxWatchers)
	if w == nil {
		return status.Errorf(codes.ResourceExhausted, "there are %d watches already; end one of them first", maxWatchers)
	}
	defer a.watchers.leave(w)
	told := map[types.UID]*sight{}
	for _, v := range sorted(a.pods.Views()) {
		raw, err := encoded(v)
		if err != nil {
			return unreadable(err)
		}
		if err := stream.Send(event(v1alpha1.EventType_ADDED, raw)); err != nil {
			return err
		}
		told[v.Ref.UID] = toldOf(v, raw)
	}
	if err := stream.Send(event(v1alpha1.EventType_INITIAL_SYNC_COMPLETE, nil)); err != nil {
		return err
	}
	for {
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-w.told:
		}
		for _, uid := range w.take() {
			if err := a.tell(stream, told, uid); err != nil {
				return err
			}
		}
	}
}

// tell sends what is new of a pod.
func (a api) tell(stream grpc.ServerStreamingServer[v1alpha1.WatchPodsEvent], told map[types.UID]*sight, uid types.UID) error {
	news, now, err := next(told[uid], a.pods.View(uid))
	if err != nil {
		a.counts.dropped.Inc()
		return unreadable(err)
	}
	if told[uid] = now; now == nil {
		delete(told, uid)
	}
	if news == nil {
		return nil
	}
	return stream.Send(news)
}
