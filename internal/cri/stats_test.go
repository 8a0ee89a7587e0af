package cri

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// statsRuntime answers what is asked about disks, and nothing else.
type statsRuntime struct {
	runtimeapi.RuntimeServiceClient
	runtimeapi.ImageServiceClient

	stats []*runtimeapi.ContainerStats
	disks *runtimeapi.ImageFsInfoResponse
	info  map[string]string
}

func (s *statsRuntime) ListContainerStats(context.Context, *runtimeapi.ListContainerStatsRequest, ...grpc.CallOption) (*runtimeapi.ListContainerStatsResponse, error) {
	return &runtimeapi.ListContainerStatsResponse{Stats: s.stats}, nil
}

func (s *statsRuntime) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest, ...grpc.CallOption) (*runtimeapi.ImageFsInfoResponse, error) {
	return s.disks, nil
}

func (s *statsRuntime) PodSandboxStatus(_ context.Context, r *runtimeapi.PodSandboxStatusRequest, _ ...grpc.CallOption) (*runtimeapi.PodSandboxStatusResponse, error) {
	if !r.Verbose {
		return &runtimeapi.PodSandboxStatusResponse{}, nil
	}
	return &runtimeapi.PodSandboxStatusResponse{Info: s.info}, nil
}

func usage(dir string, at int64, bytes, inodes uint64) *runtimeapi.FilesystemUsage {
	return &runtimeapi.FilesystemUsage{
		Timestamp: at, FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: dir},
		UsedBytes: &runtimeapi.UInt64Value{Value: bytes}, InodesUsed: &runtimeapi.UInt64Value{Value: inodes},
	}
}

func statsClient(s *statsRuntime) *Client {
	return &Client{cfg: Config{Observe: func(string, time.Duration, error) {}}, runtime: s, images: s, log: zap.NewNop()}
}

// TestDisks: replies are not trusted, any part of them may be missing.
func TestDisks(t *testing.T) {
	s := &statsRuntime{stats: []*runtimeapi.ContainerStats{
		nil, {}, {Attributes: &runtimeapi.ContainerAttributes{Id: "new"}},
		{Attributes: &runtimeapi.ContainerAttributes{Id: "half"}, WritableLayer: &runtimeapi.FilesystemUsage{Timestamp: 5}},
		{Attributes: &runtimeapi.ContainerAttributes{Id: "whole"}, WritableLayer: usage("/a", 7, 8, 9)},
	}}
	c := statsClient(s)
	layers, err := c.WritableLayers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	whole := pod.Disk{Dir: "/a", Bytes: new(uint64(8)), Inodes: new(uint64(9)), At: time.Unix(0, 7)}
	if diff := cmp.Diff(map[string]pod.Disk{"half": {At: time.Unix(0, 5)}, "whole": whole}, layers); diff != "" {
		t.Error(diff)
	}
	for _, none := range []*runtimeapi.ImageFsInfoResponse{nil, {}} {
		s.disks = none
		if d, err := c.ImageDisks(t.Context()); err == nil {
			t.Errorf("%+v", d)
		}
	}
	other := pod.Disk{Dir: "/b", Bytes: new(uint64(2)), Inodes: new(uint64(3)), At: time.Unix(0, 1)}
	for _, x := range []struct {
		containers []*runtimeapi.FilesystemUsage
		want       pod.ImageDisks
	}{
		{nil, pod.ImageDisks{Images: whole, Containers: whole}},
		{[]*runtimeapi.FilesystemUsage{usage("/a", 1, 2, 3)}, pod.ImageDisks{Images: whole, Containers: whole}},
		{[]*runtimeapi.FilesystemUsage{usage("/b", 1, 2, 3)}, pod.ImageDisks{Images: whole, Containers: other}},
	} {
		s.disks = &runtimeapi.ImageFsInfoResponse{ImageFilesystems: []*runtimeapi.FilesystemUsage{usage("/a", 7, 8, 9)}, ContainerFilesystems: x.containers}
		got, err := c.ImageDisks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(x.want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestSandboxImage(t *testing.T) {
	for text, want := range map[string]string{"": "", "{}": "", `{"image":"registry.k8s.io/pause:3.10","pid":1}`: "registry.k8s.io/pause:3.10"} {
		c := statsClient(&statsRuntime{info: map[string]string{"info": text}})
		if got, err := c.SandboxImage(t.Context(), "s"); got != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	c := statsClient(&statsRuntime{info: map[string]string{"info": "no json"}})
	if got, err := c.SandboxImage(t.Context(), "s"); err == nil {
		t.Errorf("%q", got)
	}
}
