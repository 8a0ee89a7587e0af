package cri_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/cri"
	"nodeagent.dev/nodeagent/internal/pod"
)

// benchPods is how many pods the runtime has, with one container each.
const benchPods = 110

// encoded is a runtime that answers at once with what was encoded before: what is
// measured is the client. It is changed between calls only.
type encoded struct {
	replies map[string][]byte
	event   []byte
	events  int // left until the stream ends
}

// Invoke is part of grpc.ClientConnInterface.
func (e *encoded) Invoke(_ context.Context, method string, _, reply any, _ ...grpc.CallOption) error {
	return proto.Unmarshal(e.replies[method], reply.(proto.Message))
}

// NewStream is part of grpc.ClientConnInterface.
func (e *encoded) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return encodedStream{e: e}, nil
}

type encodedStream struct {
	grpc.ClientStream
	e *encoded
}

// SendMsg takes the request.
func (encodedStream) SendMsg(any) error { return nil }

// CloseSend ends the request.
func (encodedStream) CloseSend() error { return nil }

// RecvMsg returns the next event.
func (s encodedStream) RecvMsg(m any) error {
	if s.e.events == 0 {
		return io.EOF
	}
	s.e.events--
	return proto.Unmarshal(s.e.event, m.(proto.Message))
}

func (e *encoded) set(b *testing.B, method string, m proto.Message) {
	b.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	if e.replies == nil {
		e.replies = map[string][]byte{}
	}
	e.replies[method] = raw
}

func (e *encoded) client() *cri.Client {
	return cri.NewWithConns(e, e, cri.Config{}, zap.NewNop())
}

// BenchmarkListAll is the list of all pods.
func BenchmarkListAll(b *testing.B) {
	e := &encoded{}
	var sandboxes []*runtimeapi.PodSandbox
	var containers []*runtimeapi.Container
	for i := range benchPods {
		s, c := benchPod(i)
		sandboxes, containers = append(sandboxes, s), append(containers, c)
	}
	e.set(b, runtimeapi.RuntimeService_ListPodSandbox_FullMethodName, &runtimeapi.ListPodSandboxResponse{Items: sandboxes})
	e.set(b, runtimeapi.RuntimeService_ListContainers_FullMethodName, &runtimeapi.ListContainersResponse{Containers: containers})
	c := e.client()
	b.ReportAllocs()
	for b.Loop() {
		if all, err := c.ListAll(b.Context()); err != nil || len(all) != benchPods {
			b.Fatalf("%d pods, %v", len(all), err)
		}
	}
}

// BenchmarkObserve is a look at one pod beside many: as it was ("same"), and with a
// container that has been restarted since, every second time ("changed").
func BenchmarkObserve(b *testing.B) {
	e := &encoded{}
	c := e.client()
	for i := range benchPods {
		e.show(b, i, 1)
		if _, err := c.Observe(b.Context(), refOf(i)); err != nil {
			b.Fatal(err)
		}
	}
	for name, instances := range map[string]int{"same": 1, "changed": 2} {
		b.Run(name, func(b *testing.B) {
			e.show(b, 7, instances)
			more := e.replies[runtimeapi.RuntimeService_ListContainers_FullMethodName]
			e.show(b, 7, 1)
			less := e.replies[runtimeapi.RuntimeService_ListContainers_FullMethodName]
			_, fresh := benchPod(7)
			fresh.Id += "-1"
			e.set(b, runtimeapi.RuntimeService_ContainerStatus_FullMethodName, statusOf(fresh))
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				want := 1
				if e.replies[runtimeapi.RuntimeService_ListContainers_FullMethodName] = less; n%2 == 1 {
					e.replies[runtimeapi.RuntimeService_ListContainers_FullMethodName], want = more, instances
				}
				o, err := c.Observe(b.Context(), refOf(7))
				if err != nil || len(o.Containers) != want || o.Containers[0].StartedAt.IsZero() {
					b.Fatalf("%+v, %v", o, err)
				}
			}
		})
	}
}

// BenchmarkEvents is what an event costs until it is a hint.
func BenchmarkEvents(b *testing.B) {
	s, c := benchPod(7)
	raw, err := proto.Marshal(&runtimeapi.ContainerEventResponse{
		ContainerId: c.Id, ContainerEventType: runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT, CreatedAt: time.Now().UnixNano(),
		PodSandboxStatus: sandboxStatusOf(s).Status, ContainersStatuses: []*runtimeapi.ContainerStatus{statusOf(c).Status},
	})
	if err != nil {
		b.Fatal(err)
	}
	e := &encoded{event: raw, events: b.N}
	client := e.client()
	hints := 0
	b.ReportAllocs()
	b.ResetTimer()
	err = client.Events(b.Context(), func(h pod.Hint) {
		if h.UID == refOf(7).UID {
			hints++
		}
	})
	if hints != b.N {
		b.Fatalf("%d hints of %d events, %v", hints, b.N, err)
	}
}

// show makes the runtime answer about one pod, with so many instances of its
// container.
func (e *encoded) show(b *testing.B, i, instances int) {
	b.Helper()
	s, c := benchPod(i)
	list := &runtimeapi.ListContainersResponse{Containers: []*runtimeapi.Container{c}}
	for n := 1; n < instances; n++ {
		next := proto.Clone(c).(*runtimeapi.Container)
		next.Id, next.Metadata.Attempt = fmt.Sprint(c.Id, "-", n), uint32(n)
		list.Containers = append(list.Containers, next)
	}
	e.set(b, runtimeapi.RuntimeService_ListPodSandbox_FullMethodName, &runtimeapi.ListPodSandboxResponse{Items: []*runtimeapi.PodSandbox{s}})
	e.set(b, runtimeapi.RuntimeService_ListContainers_FullMethodName, list)
	e.set(b, runtimeapi.RuntimeService_PodSandboxStatus_FullMethodName, sandboxStatusOf(s))
	e.set(b, runtimeapi.RuntimeService_ContainerStatus_FullMethodName, statusOf(c))
}

func refOf(i int) pod.Ref {
	return pod.Ref{Namespace: "default", Name: fmt.Sprint("web-", i), UID: types.UID(fmt.Sprintf("8d5a6c3e-0000-4000-8000-%012d", i))}
}

// benchPod is a pod as the runtime lists it, with the labels and annotations that
// agents put on theirs.
func benchPod(i int) (*runtimeapi.PodSandbox, *runtimeapi.Container) {
	ref := refOf(i)
	labels := map[string]string{
		containerspec.LabelPodName: ref.Name, containerspec.LabelPodNamespace: ref.Namespace, containerspec.LabelPodUID: string(ref.UID), "app": "web",
	}
	sandbox := &runtimeapi.PodSandbox{
		Id: fmt.Sprintf("%064d", i), State: runtimeapi.PodSandboxState_SANDBOX_READY, CreatedAt: time.Now().UnixNano(), Labels: labels,
		Metadata:    &runtimeapi.PodSandboxMetadata{Name: ref.Name, Namespace: ref.Namespace, Uid: string(ref.UID)},
		Annotations: map[string]string{"kubernetes.io/config.source": "api", "kubernetes.io/config.seen": "2026-01-01T00:00:00Z"},
	}
	container := &runtimeapi.Container{
		Id: fmt.Sprintf("%064d", 1000+i), PodSandboxId: sandbox.Id, State: runtimeapi.ContainerState_CONTAINER_RUNNING, CreatedAt: time.Now().UnixNano(),
		Metadata: &runtimeapi.ContainerMetadata{Name: "web"}, Image: &runtimeapi.ImageSpec{Image: "sha256:1"}, ImageRef: "sha256:1",
		Labels: map[string]string{containerspec.LabelContainerName: "web"},
		Annotations: map[string]string{
			containerspec.AnnotationHash: "1a2b3c4d", containerspec.AnnotationRestartCount: "0", containerspec.AnnotationCrashCount: "0",
			containerspec.AnnotationTerminationMessagePath: "/dev/termination-log", containerspec.AnnotationTerminationMessagePolicy: "File",
			containerspec.AnnotationTerminationGracePeriod: "30",
		},
	}
	maps.Copy(container.Labels, labels)
	return sandbox, container
}

func sandboxStatusOf(s *runtimeapi.PodSandbox) *runtimeapi.PodSandboxStatusResponse {
	return &runtimeapi.PodSandboxStatusResponse{Status: &runtimeapi.PodSandboxStatus{
		Id: s.Id, Metadata: s.Metadata, State: s.State, CreatedAt: s.CreatedAt, Labels: s.Labels, Annotations: s.Annotations,
		Network: &runtimeapi.PodSandboxNetworkStatus{Ip: "10.0.0.1"}, Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{}},
	}}
}

func statusOf(c *runtimeapi.Container) *runtimeapi.ContainerStatusResponse {
	return &runtimeapi.ContainerStatusResponse{Status: &runtimeapi.ContainerStatus{
		Id: c.Id, Metadata: c.Metadata, State: c.State, CreatedAt: c.CreatedAt, StartedAt: c.CreatedAt, Image: c.Image, ImageRef: c.ImageRef,
		Labels: c.Labels, Annotations: c.Annotations, LogPath: "/var/log/pods/web/0.log",
		Mounts: []*runtimeapi.Mount{{ContainerPath: "/etc/hosts", HostPath: "/var/lib/kubelet/etc-hosts"}, {ContainerPath: "/dev/termination-log", HostPath: "/var/lib/kubelet/t"}},
		User:   &runtimeapi.ContainerUser{Linux: &runtimeapi.LinuxContainerUser{}},
	}}
}
