package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// WritableLayers returns what containers have written to their own file systems, by
// the runtime's ID. The runtime measures that now and then; pod.Disk.At says when.
func (c *Client) WritableLayers(ctx context.Context) (map[string]pod.Disk, error) {
	resp, err := call(ctx, c, "list_container_stats", c.cfg.RequestTimeout, c.runtime.ListContainerStats,
		&runtimeapi.ListContainerStatsRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask the runtime for the writable layers of containers: %w", err)
	}
	layers := make(map[string]pod.Disk, len(resp.GetStats()))
	for _, s := range resp.GetStats() {
		if id := s.GetAttributes().GetId(); id != "" && s.GetWritableLayer() != nil {
			layers[id] = disk(s.GetWritableLayer())
		}
	}
	return layers, nil
}

// ImageDisks returns where images and the writable layers of containers are, and what
// they take there. Containers is the same as Images where the runtime does not tell
// them apart.
func (c *Client) ImageDisks(ctx context.Context) (pod.ImageDisks, error) {
	resp, err := call(ctx, c, "image_fs_info", c.cfg.RequestTimeout, c.images.ImageFsInfo, &runtimeapi.ImageFsInfoRequest{})
	if err != nil {
		return pod.ImageDisks{}, fmt.Errorf("ask the runtime for the file systems of images: %w", err)
	}
	if len(resp.GetImageFilesystems()) == 0 {
		return pod.ImageDisks{}, errors.New("ask the runtime for the file systems of images: it knows none")
	}
	disks := pod.ImageDisks{Images: disk(resp.GetImageFilesystems()[0])}
	disks.Containers = disks.Images
	if all := resp.GetContainerFilesystems(); len(all) > 0 && all[0].GetFsId().GetMountpoint() != disks.Images.Dir {
		disks.Containers = disk(all[0])
	}
	return disks, nil
}

func disk(f *runtimeapi.FilesystemUsage) pod.Disk {
	d := pod.Disk{Dir: f.GetFsId().GetMountpoint(), At: time.Unix(0, f.GetTimestamp())}
	if f.GetUsedBytes() != nil {
		d.Bytes = &f.UsedBytes.Value
	}
	if f.GetInodesUsed() != nil {
		d.Inodes = &f.InodesUsed.Value
	}
	return d
}

// SandboxImage returns what a sandbox was made from, as runtimes tell it beside what
// CRI asks for; empty: it does not tell.
func (c *Client) SandboxImage(ctx context.Context, id string) (string, error) {
	resp, err := call(ctx, c, "podsandbox_status", c.cfg.RequestTimeout, c.runtime.PodSandboxStatus,
		&runtimeapi.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
	if err != nil {
		return "", fmt.Errorf("ask the runtime for the image of sandbox %s: %w", id, err)
	}
	var info struct {
		Image string `json:"image"`
	}
	if text := resp.GetInfo()["info"]; text != "" && len(text) < maxInfo {
		if err := json.Unmarshal([]byte(text), &info); err != nil {
			return "", fmt.Errorf("read what the runtime says of sandbox %s: %w", id, err)
		}
	}
	return info.Image, nil
}

// maxInfo is more than a runtime says of one sandbox.
const maxInfo = 1 << 20
