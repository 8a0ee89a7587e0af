package cri

import (
	"context"
	"fmt"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// CreateSandbox makes and starts a sandbox and returns its ID. A sandbox that
// an earlier call made for the same attempt is taken over. Failures have reason
// CreatePodSandboxError.
func (c *Client) CreateSandbox(ctx context.Context, req pod.SandboxRequest) (string, error) {
	cfg, err := containerspec.Sandbox(req, c.cfg.Node())
	if err != nil {
		return "", err
	}
	// Setting up a pod's network may take long; the kubelet waits twice as long too.
	resp, err := call(ctx, c, "run_podsandbox", 2*c.cfg.RequestTimeout, c.runtime.RunPodSandbox,
		&runtimeapi.RunPodSandboxRequest{Config: cfg, RuntimeHandler: req.Grant.RuntimeHandler})
	if err != nil {
		if id := c.reservedSandbox(ctx, err, req); id != "" {
			return id, nil
		}
		return "", fail(reasonCreateSandbox, err)
	}
	if resp.GetPodSandboxId() == "" {
		return "", fail(reasonCreateSandbox, fmt.Errorf("the runtime returned no ID for the sandbox of pod %q", req.Pod.Name))
	}
	return resp.GetPodSandboxId(), nil
}

// reservedSandbox returns the sandbox that holds the name which a create could
// not have, if it is of the same pod and attempt.
func (c *Client) reservedSandbox(ctx context.Context, err error, req pod.SandboxRequest) string {
	holder := reservedFor(err)
	if holder == "" {
		return ""
	}
	ref := pod.RefOf(req.Pod)
	resp, err := call(ctx, c, "list_podsandbox", c.cfg.RequestTimeout, c.runtime.ListPodSandbox,
		&runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{Id: holder}})
	if err != nil {
		return ""
	}
	for _, item := range resp.GetItems() {
		s, ok := sandboxOf(item, ref)
		if ok && s.ID == holder && s.Attempt == req.Attempt && s.Ready {
			return s.ID
		}
	}
	return ""
}

// reservedFor reads the holder's ID from containerd's complaint
// `name "..." is reserved for "ID"`; empty when the error is another one.
func reservedFor(err error) string {
	_, rest, found := strings.Cut(err.Error(), "is reserved for ")
	if !found {
		return ""
	}
	id := strings.Trim(strings.TrimSpace(rest), `"`)
	if end := strings.IndexFunc(id, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_' && r != '.'
	}); end >= 0 {
		id = id[:end]
	}
	return id
}

// StopSandbox stops a sandbox, kills what still runs in it and frees its
// network. One that is gone is stopped.
func (c *Client) StopSandbox(ctx context.Context, id string) error {
	_, err := call(ctx, c, "stop_podsandbox", c.cfg.RequestTimeout, c.runtime.StopPodSandbox,
		&runtimeapi.StopPodSandboxRequest{PodSandboxId: id})
	if err != nil && !isNotFound(err) {
		return fail(reasonKillSandbox, fmt.Errorf("stop sandbox %s: %w", id, err))
	}
	return nil
}

// RemoveSandbox removes a sandbox and its containers. One that is gone is
// removed.
func (c *Client) RemoveSandbox(ctx context.Context, id string) error {
	_, err := call(ctx, c, "remove_podsandbox", c.cfg.RequestTimeout, c.runtime.RemovePodSandbox,
		&runtimeapi.RemovePodSandboxRequest{PodSandboxId: id})
	if err != nil && !isNotFound(err) {
		return fail(reasonRemoveSandbox, fmt.Errorf("remove sandbox %s: %w", id, err))
	}
	return nil
}
