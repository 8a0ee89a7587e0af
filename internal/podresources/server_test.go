package podresources

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	v1 "k8s.io/kubelet/pkg/apis/podresources/v1"
	"k8s.io/kubelet/pkg/apis/podresources/v1alpha1"

	"nodeagent.dev/nodeagent/internal/pod"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a node whose pods the test makes up.
type node struct {
	mu     sync.Mutex
	views  []*pod.View
	server *Server
	v1     v1.PodResourcesListerClient
	alpha  v1alpha1.PodResourcesListerClient
}

func newNode(t *testing.T, change ...func(*Config)) *node {
	t.Helper()
	n := &node{}
	cfg := Config{RootDir: t.TempDir()}
	for _, f := range change {
		f(&cfg)
	}
	n.server = New(cfg, func() []*pod.View {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.views
	}, zaptest.NewLogger(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.server.Run(ctx) }()
	conn, err := grpc.NewClient("unix://"+SocketPath(cfg.RootDir), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	n.v1, n.alpha = v1.NewPodResourcesListerClient(conn), v1alpha1.NewPodResourcesListerClient(conn)
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(conn.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	return n
}

func (n *node) put(views ...*pod.View) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.views = views
}

// sees returns a view of a pod with an init container, a sidecar, a regular and
// an ephemeral container.
func sees(name string, change ...func(*pod.View)) *pod.View {
	always := corev1.ContainerRestartPolicyAlways
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name)}}
	p.Spec.InitContainers = []corev1.Container{{Name: "init"}, {Name: "side", RestartPolicy: &always}}
	p.Spec.Containers = []corev1.Container{{Name: "a"}, {Name: "b"}}
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}}
	v := &pod.View{Ref: pod.RefOf(p), Pod: p, Stage: "Syncing"}
	v.Status.Phase = corev1.PodRunning
	for _, f := range change {
		f(v)
	}
	return v
}

func in(stage string, phase corev1.PodPhase) func(*pod.View) {
	return func(v *pod.View) { v.Stage, v.Status.Phase = stage, phase }
}

func names(l *v1.ListPodResourcesResponse) string {
	var all []string
	for _, p := range l.GetPodResources() {
		all = append(all, p.GetName())
	}
	return strings.Join(all, " ")
}

func TestList(t *testing.T) {
	n := newNode(t)
	got, err := n.v1.List(t.Context(), &v1.ListPodResourcesRequest{})
	if err != nil || len(got.GetPodResources()) != 0 {
		t.Errorf("before there are pods: %v, %v", got, err)
	}
	n.put(sees("p"))
	got, err = n.v1.List(t.Context(), &v1.ListPodResourcesRequest{})
	want := &v1.ListPodResourcesResponse{PodResources: []*v1.PodResources{{Name: "p", Namespace: "ns",
		Containers: []*v1.ContainerResources{{Name: "side"}, {Name: "a"}, {Name: "b"}}}}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("%v, %s", err, diff)
	}
	old, err := n.alpha.List(t.Context(), &v1alpha1.ListPodResourcesRequest{})
	wantOld := &v1alpha1.ListPodResourcesResponse{PodResources: []*v1alpha1.PodResources{{Name: "p", Namespace: "ns",
		Containers: []*v1alpha1.ContainerResources{{Name: "a"}, {Name: "b"}}}}}
	if diff := cmp.Diff(wantOld, old, protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("v1alpha1: %v, %s", err, diff)
	}
}

// TestWhoHoldsSomething: pods that have ended do not, pods that are ending do.
func TestWhoHoldsSomething(t *testing.T) {
	views := []*pod.View{
		sees("e-running"), sees("d-pending", in("Syncing", corev1.PodPending)),
		sees("c-ending", in("Terminating", corev1.PodFailed)), sees("x-ended", in("Terminated", corev1.PodSucceeded)),
		sees("x-refused", in("Syncing", corev1.PodFailed)), sees("x-orphan", func(v *pod.View) { v.Pod = nil }),
		sees("x-done-in-the-api", func(v *pod.View) { v.Pod.Status.Phase = corev1.PodSucceeded }),
	}
	const active = "c-ending d-pending e-running"
	for want, ended := range map[string]bool{
		active: false, active + " x-done-in-the-api x-ended x-refused": true,
	} {
		n := newNode(t, func(c *Config) { c.Ended = ended })
		n.put(views...)
		got, err := n.v1.List(t.Context(), &v1.ListPodResourcesRequest{})
		if err != nil || names(got) != want {
			t.Errorf("ended %v: %q, %v, want %q", ended, names(got), err, want)
		}
		old, err := n.alpha.List(t.Context(), &v1alpha1.ListPodResourcesRequest{})
		if err != nil || len(old.GetPodResources()) != len(views)-1 {
			t.Errorf("v1alpha1 lists %d, %v", len(old.GetPodResources()), err)
		}
		if _, err := n.v1.Get(t.Context(), &v1.GetPodResourcesRequest{PodNamespace: "ns", PodName: "x-ended"}); err == nil {
			t.Error("a pod that has ended was found")
		}
	}
}

func TestGet(t *testing.T) {
	n := newNode(t)
	older := sees("twice", func(v *pod.View) { v.Pod.Spec.Containers = nil })
	newer := sees("twice", func(v *pod.View) { v.Pod.CreationTimestamp = metav1.Unix(9, 0) })
	n.put(older, newer, sees("p"))
	got, err := n.v1.Get(t.Context(), &v1.GetPodResourcesRequest{PodNamespace: "ns", PodName: "twice"})
	if err != nil || len(got.GetPodResources().GetContainers()) != 3 {
		t.Errorf("%v, %v", got, err)
	}
	_, err = n.v1.Get(t.Context(), &v1.GetPodResourcesRequest{PodNamespace: "other", PodName: "p"})
	if s := status.Convert(err); s.Code() != codes.Unknown || s.Message() != "pod p in namespace other not found" {
		t.Errorf("got %v", err)
	}
	all, err := n.v1.GetAllocatableResources(t.Context(), &v1.AllocatableResourcesRequest{})
	if diff := cmp.Diff(&v1.AllocatableResourcesResponse{}, all, protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("%v, %s", err, diff)
	}
}

func TestCounters(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, _ = n.v1.List(ctx, &v1.ListPodResourcesRequest{})
	_, _ = n.v1.Get(ctx, &v1.GetPodResourcesRequest{})
	_, _ = n.v1.GetAllocatableResources(ctx, &v1.AllocatableResourcesRequest{})
	_, _ = n.alpha.List(ctx, &v1alpha1.ListPodResourcesRequest{})
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(n.server.Collectors()...)
	want := []string{
		`kubelet_pod_resources_endpoint_errors_get{server_api_version="v1"} 1`,
		`kubelet_pod_resources_endpoint_requests_get{server_api_version="v1"} 1`,
		`kubelet_pod_resources_endpoint_requests_get_allocatable{server_api_version="v1"} 1`,
		`kubelet_pod_resources_endpoint_requests_list{server_api_version="v1"} 1`,
		`kubelet_pod_resources_endpoint_requests_total{server_api_version="v1"} 3`,
		`kubelet_pod_resources_endpoint_requests_total{server_api_version="v1alpha1"} 1`,
	}
	if diff := cmp.Diff(want, series(t, reg)); diff != "" {
		t.Error(diff)
	}
}

// series are the samples of a registry, sorted, as text.
func series(t *testing.T, reg *prometheus.Registry) []string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			name := f.GetName()
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			all = append(all, fmt.Sprintf("%s %v", name, m.GetCounter().GetValue()))
		}
	}
	return all
}
