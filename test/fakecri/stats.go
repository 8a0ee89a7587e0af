package fakecri

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What every container uses, always: a millicore, a megabyte, a file.
const (
	usedMemory = 1 << 20
	usedDisk   = 4 << 10
	// idle is how much longer a container exists than it computes.
	idle = 1000
)

// stats is what a container uses.
func (st *state) stats(k *container) *cri.ContainerStats {
	now := time.Now()
	value := func(n uint64) *cri.UInt64Value { return &cri.UInt64Value{Value: n} }
	out := &cri.ContainerStats{Attributes: &cri.ContainerAttributes{
		Id: k.id, Metadata: &cri.ContainerMetadata{Name: k.name, Attempt: k.attempt},
		Labels: k.config.GetLabels(), Annotations: k.config.GetAnnotations(),
	}}
	if k.state != cri.ContainerState_CONTAINER_RUNNING {
		return out
	}
	at := now.UnixNano()
	out.Cpu = &cri.CpuUsage{Timestamp: at, UsageCoreNanoSeconds: value(uint64(now.Sub(k.started) / idle))}
	out.Memory = &cri.MemoryUsage{
		Timestamp: at, WorkingSetBytes: value(usedMemory), UsageBytes: value(usedMemory), RssBytes: value(usedMemory),
		AvailableBytes: value(0), PageFaults: value(0), MajorPageFaults: value(0),
	}
	out.WritableLayer = &cri.FilesystemUsage{
		Timestamp: at, FsId: &cri.FilesystemIdentifier{Mountpoint: st.cfg.ImageDir}, UsedBytes: value(usedDisk), InodesUsed: value(1),
	}
	return out
}

// ContainerStats shows what one container uses.
func (r *runtimeService) ContainerStats(_ context.Context, req *cri.ContainerStatsRequest) (*cri.ContainerStatsResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	k := st.containers[req.GetContainerId()]
	if k == nil {
		return nil, notFound("container", req.GetContainerId())
	}
	return &cri.ContainerStatsResponse{Stats: st.stats(k)}, nil
}

// ListContainerStats shows what the running containers use that a filter asks for.
func (r *runtimeService) ListContainerStats(_ context.Context, req *cri.ListContainerStatsRequest) (*cri.ListContainerStatsResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	f := req.GetFilter()
	out := &cri.ListContainerStatsResponse{}
	for _, k := range st.containersThat(func(k *container) bool {
		return k.state == cri.ContainerState_CONTAINER_RUNNING && k.fits(f)
	}) {
		out.Stats = append(out.Stats, st.stats(k))
	}
	return out, nil
}

// ImageFsInfo shows where images are, and that they use nothing.
func (r *imageService) ImageFsInfo(context.Context, *cri.ImageFsInfoRequest) (*cri.ImageFsInfoResponse, error) {
	dir := r.s.cfg.ImageDir
	if dir == "" {
		return nil, status.Error(codes.Unimplemented, "unknown method ImageFsInfo")
	}
	disk := []*cri.FilesystemUsage{{
		Timestamp: time.Now().UnixNano(), FsId: &cri.FilesystemIdentifier{Mountpoint: dir},
		UsedBytes: &cri.UInt64Value{}, InodesUsed: &cri.UInt64Value{},
	}}
	return &cri.ImageFsInfoResponse{ImageFilesystems: disk, ContainerFilesystems: disk}, nil
}
