package cri

import (
	"context"
	"fmt"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// criVersion is the version of the runtime interface that the agent speaks.
const criVersion = "0.1.0"

// Info returns what the runtime says of itself.
func (c *Client) Info(ctx context.Context) (pod.RuntimeInfo, error) {
	v, err := call(ctx, c, "version", c.cfg.RequestTimeout, c.runtime.Version, &runtimeapi.VersionRequest{Version: criVersion})
	if err != nil {
		return pod.RuntimeInfo{}, fmt.Errorf("ask the runtime for its version: %w", err)
	}
	s, err := call(ctx, c, "status", c.cfg.RequestTimeout, c.runtime.Status, &runtimeapi.StatusRequest{})
	if err != nil {
		return pod.RuntimeInfo{}, fmt.Errorf("ask the runtime for its status: %w", err)
	}
	info := pod.RuntimeInfo{
		Name:                     cut(v.GetRuntimeName()),
		Version:                  cut(v.GetRuntimeVersion()),
		APIVersion:               cut(v.GetRuntimeApiVersion()),
		RuntimeProblem:           problem(s.GetStatus(), runtimeapi.RuntimeReady),
		NetworkProblem:           problem(s.GetStatus(), runtimeapi.NetworkReady),
		SupplementalGroupsPolicy: s.GetFeatures().GetSupplementalGroupsPolicy(),
	}
	for _, h := range s.GetRuntimeHandlers() {
		info.Handlers = append(info.Handlers, pod.RuntimeHandler{
			Name:                    cut(h.GetName()),
			RecursiveReadOnlyMounts: h.GetFeatures().GetRecursiveReadOnlyMounts(),
			UserNamespaces:          h.GetFeatures().GetUserNamespaces(),
		})
	}
	return info, nil
}

// problem is why a condition is not true, in the kubelet's words
// ("NetworkReady=false reason:NetworkPluginNotReady message:..."), or empty.
func problem(s *runtimeapi.RuntimeStatus, condition string) string {
	for _, c := range s.GetConditions() {
		if c.GetType() != condition {
			continue
		}
		if c.GetStatus() {
			return ""
		}
		return fmt.Sprintf("%s=false reason:%s message:%s", condition, cut(c.GetReason()), cut(c.GetMessage()))
	}
	return fmt.Sprintf("%s=false reason:Unknown message:the runtime does not report this condition", condition)
}

// CgroupDriver returns "systemd", "cgroupfs", or "" when the runtime cannot say
// and the configuration decides.
func (c *Client) CgroupDriver(ctx context.Context) (string, error) {
	resp, err := call(ctx, c, "runtime_config", c.cfg.RequestTimeout, c.runtime.RuntimeConfig, &runtimeapi.RuntimeConfigRequest{})
	switch {
	case isUnimplemented(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("ask the runtime for its cgroup driver: %w", err)
	case resp.GetLinux() == nil:
		return "", nil
	}
	switch resp.GetLinux().GetCgroupDriver() {
	case runtimeapi.CgroupDriver_SYSTEMD:
		return "systemd", nil
	case runtimeapi.CgroupDriver_CGROUPFS:
		return "cgroupfs", nil
	}
	return "", fmt.Errorf("the runtime uses cgroup driver %v, which this agent does not know", resp.GetLinux().GetCgroupDriver())
}

// UpdatePodCIDR tells the runtime the node's pod network. Runtimes with a
// network plugin of their own ignore it.
func (c *Client) UpdatePodCIDR(ctx context.Context, cidr string) error {
	_, err := call(ctx, c, "update_runtime_config", c.cfg.RequestTimeout, c.runtime.UpdateRuntimeConfig,
		&runtimeapi.UpdateRuntimeConfigRequest{RuntimeConfig: &runtimeapi.RuntimeConfig{
			NetworkConfig: &runtimeapi.NetworkConfig{PodCidr: cidr},
		}})
	if err != nil {
		return fmt.Errorf("tell the runtime the pod CIDR %s: %w", cidr, err)
	}
	return nil
}
