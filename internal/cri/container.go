package cri

import (
	"context"
	"fmt"
	"math"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// CreateContainer makes a container and returns its ID. A container that an
// earlier call made for the same attempt and sandbox is taken over as long as
// it has not ended. The directory of its log has to exist. Failures have reason
// CreateContainerConfigError when the runtime was not asked, else
// CreateContainerError.
func (c *Client) CreateContainer(ctx context.Context, req pod.ContainerRequest) (string, error) {
	node := c.cfg.Node()
	cfg, err := containerspec.Container(req, node)
	if err != nil {
		return "", err
	}
	sandbox, err := containerspec.Sandbox(req.Sandbox, node)
	if err != nil {
		return "", failPlain(pod.ReasonContainerConfig, err)
	}
	if err := c.imageUser(ctx, cfg, req); err != nil {
		return "", err
	}
	resp, err := call(ctx, c, "create_container", c.cfg.RequestTimeout, c.runtime.CreateContainer,
		&runtimeapi.CreateContainerRequest{PodSandboxId: req.SandboxID, Config: cfg, SandboxConfig: sandbox})
	if err != nil {
		if id := c.reservedContainer(ctx, err, req); id != "" {
			return id, nil
		}
		return "", failPlain(reasonCreateContainer, err)
	}
	if resp.GetContainerId() == "" {
		return "", fail(reasonCreateContainer, fmt.Errorf("the runtime returned no ID for container %q", req.Container.Name))
	}
	return resp.GetContainerId(), nil
}

// imageUser completes the message with the user of the image.
func (c *Client) imageUser(ctx context.Context, cfg *runtimeapi.ContainerConfig, req pod.ContainerRequest) error {
	var user containerspec.ImageUser
	if containerspec.NeedsImageUser(cfg) {
		resp, err := c.imageStatus(ctx, cfg.GetImage().GetImage())
		if err != nil {
			return failPlain(pod.ReasonContainerConfig, err)
		}
		if uid := resp.GetUid(); uid != nil {
			user.UID = &uid.Value
		} else {
			user.Name = resp.GetUsername()
		}
	}
	return containerspec.ApplyImageUser(cfg, req, user)
}

// reservedContainer returns the container that holds the name which a create
// could not have, if it can stand for the one that was asked for.
func (c *Client) reservedContainer(ctx context.Context, err error, req pod.ContainerRequest) string {
	holder := reservedFor(err)
	if holder == "" {
		return ""
	}
	ref := pod.RefOf(req.Sandbox.Pod)
	resp, err := call(ctx, c, "list_containers", c.cfg.RequestTimeout, c.runtime.ListContainers,
		&runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{Id: holder}})
	if err != nil {
		return ""
	}
	for _, item := range resp.GetContainers() {
		k, ok := containerOf(item, ref)
		alive := k.State == pod.ContainerCreated || k.State == pod.ContainerRunning
		if ok && alive && k.ID == holder && k.SandboxID == req.SandboxID && k.Name == req.Container.Name && k.Attempt == req.Attempt {
			return k.ID
		}
	}
	return ""
}

// StartContainer starts a container that was created; one that runs is
// started. Failures have reason RunContainerError.
func (c *Client) StartContainer(ctx context.Context, id string) error {
	_, err := call(ctx, c, "start_container", c.cfg.RequestTimeout, c.runtime.StartContainer,
		&runtimeapi.StartContainerRequest{ContainerId: id})
	if err == nil || c.runs(ctx, id) {
		return nil
	}
	return failPlain(reasonRunContainer, err)
}

// runs reports whether the container is known to run.
func (c *Client) runs(ctx context.Context, id string) bool {
	k, found, err := c.containerStatus(ctx, pod.Container{ID: id})
	return err == nil && found && k.State == pod.ContainerRunning
}

// StopContainer sends SIGTERM, waits for the grace, sends SIGKILL, and returns
// when the container has ended. Zero grace kills at once. One that is gone is
// stopped. When ctx ends before the grace, the runtime sends no SIGKILL.
// Failures have reason KillContainerError.
func (c *Client) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	grace = max(grace, 0)
	seconds := int64(math.Ceil(grace.Seconds()))
	_, err := call(ctx, c, "stop_container", grace+c.cfg.RequestTimeout, c.runtime.StopContainer,
		&runtimeapi.StopContainerRequest{ContainerId: id, Timeout: seconds})
	if err != nil && !isNotFound(err) {
		return fail(reasonKillContainer, fmt.Errorf("stop container %s: %w", id, err))
	}
	return nil
}

// ReopenContainerLog lets a running container write to a new file at the path of its
// log, whose old file was renamed. The old one may get the end of a line afterwards.
func (c *Client) ReopenContainerLog(ctx context.Context, id string) error {
	_, err := call(ctx, c, "reopen_container_log", c.cfg.RequestTimeout, c.runtime.ReopenContainerLog,
		&runtimeapi.ReopenContainerLogRequest{ContainerId: id})
	if err != nil {
		return fmt.Errorf("reopen the log of container %s: %w", id, err)
	}
	return nil
}

// RemoveContainer removes a container that has stopped. One that is gone is
// removed.
func (c *Client) RemoveContainer(ctx context.Context, id string) error {
	_, err := call(ctx, c, "remove_container", c.cfg.RequestTimeout, c.runtime.RemoveContainer,
		&runtimeapi.RemoveContainerRequest{ContainerId: id})
	if err != nil && !isNotFound(err) {
		return fail(reasonRemoveContainer, fmt.Errorf("remove container %s: %w", id, err))
	}
	return nil
}
