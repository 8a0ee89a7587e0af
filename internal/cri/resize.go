package cri

import (
	"context"
	"errors"
	"fmt"
	"math"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// UpdateContainer gives a running container the CPU and memory of container.
func (c *Client) UpdateContainer(ctx context.Context, p *corev1.Pod, container *corev1.Container, id string) error {
	_, err := call(ctx, c, "update_container", c.cfg.RequestTimeout, c.runtime.UpdateContainerResources,
		&runtimeapi.UpdateContainerResourcesRequest{
			ContainerId: id,
			Linux:       containerspec.UpdatedResources(p, container, c.cfg.Node()),
		})
	return err
}

// UpdateSandbox tells the runtime what the pod's cgroup is about to have. A runtime
// that does not know the call need not know.
func (c *Client) UpdateSandbox(ctx context.Context, p *corev1.Pod, id string, limits pod.CgroupLimits) error {
	overhead, resources := containerspec.UpdatedSandbox(p, limits, c.cfg.Node())
	_, err := call(ctx, c, "update_podsandbox_resources", c.cfg.RequestTimeout, c.runtime.UpdatePodSandboxResources,
		&runtimeapi.UpdatePodSandboxResourcesRequest{
			PodSandboxId: id, Overhead: overhead, Resources: resources,
		})
	if status.Code(err) == codes.Unimplemented {
		return nil
	}
	return err
}

// MemoryUsage is how much memory a container uses, in bytes.
func (c *Client) MemoryUsage(ctx context.Context, id string) (int64, error) {
	resp, err := call(ctx, c, "container_stats", c.cfg.RequestTimeout, c.runtime.ContainerStats, &runtimeapi.ContainerStatsRequest{ContainerId: id})
	if err != nil {
		return 0, err
	}
	usage := resp.GetStats().GetMemory().GetUsageBytes()
	switch {
	case usage == nil:
		return 0, errors.New("the runtime does not know")
	case usage.GetValue() > math.MaxInt64:
		return 0, fmt.Errorf("the runtime says %d bytes", usage.GetValue())
	}
	return int64(usage.GetValue()), nil // #nosec G115 -- checked above
}
