package cri

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// streamURL checks the address that the runtime wants a stream to be taken to.
func streamURL(what, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("the runtime's address for %s is no URL: %w", what, err)
	}
	if u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("the runtime's address for %s is %q: want http://host:port/... or https", what, cut(raw))
	}
	return u, nil
}

// Exec prepares a command in a container and returns where its streams are
// served. The error has the runtime's gRPC status.
func (c *Client) Exec(ctx context.Context, id string, command []string, s pod.Streams) (*url.URL, error) {
	resp, err := call(ctx, c, "exec", c.cfg.RequestTimeout, c.runtime.Exec, &runtimeapi.ExecRequest{
		ContainerId: id, Cmd: command, Tty: s.TTY, Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr,
	})
	if err != nil {
		return nil, err
	}
	return streamURL("exec", resp.GetUrl())
}

// Attach returns where the streams of a container's first process are served.
// The error has the runtime's gRPC status.
func (c *Client) Attach(ctx context.Context, id string, s pod.Streams) (*url.URL, error) {
	resp, err := call(ctx, c, "attach", c.cfg.RequestTimeout, c.runtime.Attach, &runtimeapi.AttachRequest{
		ContainerId: id, Tty: s.TTY, Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr,
	})
	if err != nil {
		return nil, err
	}
	return streamURL("attach", resp.GetUrl())
}

// PortForward returns where connections to a sandbox's ports are served. The
// error has the runtime's gRPC status.
func (c *Client) PortForward(ctx context.Context, sandboxID string, ports []int32) (*url.URL, error) {
	resp, err := call(ctx, c, "port_forward", c.cfg.RequestTimeout, c.runtime.PortForward,
		&runtimeapi.PortForwardRequest{PodSandboxId: sandboxID, Port: ports})
	if err != nil {
		return nil, err
	}
	return streamURL("port-forward", resp.GetUrl())
}

// errExited counts a command that ended with another code than 0 as a failed call,
// as the kubelet's figures do.
var errExited = errors.New("the command has failed")

// ExecSync runs a command in a container and returns when it has ended. Zero
// timeout leaves the end to ctx. That the command failed is no error, see
// [pod.ExecResult].
func (c *Client) ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (pod.ExecResult, error) {
	limit := timeout
	if limit > 0 {
		limit += c.cfg.RequestTimeout // the runtime ends it, we only do not wait for ever
	}
	seconds := int64((timeout + time.Second - 1) / time.Second)
	var resp *runtimeapi.ExecSyncResponse
	_, err := call(ctx, c, "exec_sync", limit, func(ctx context.Context, req *runtimeapi.ExecSyncRequest, opts ...grpc.CallOption) (*runtimeapi.ExecSyncResponse, error) {
		var err error
		if resp, err = c.runtime.ExecSync(ctx, req, opts...); err == nil && resp.GetExitCode() != 0 {
			err = errExited
		}
		return resp, err
	}, &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: command, Timeout: seconds})
	if err != nil && !errors.Is(err, errExited) {
		return pod.ExecResult{}, err
	}
	return pod.ExecResult{Stdout: resp.GetStdout(), Stderr: resp.GetStderr(), ExitCode: resp.GetExitCode()}, nil
}

// Running shows the pods that have a sandbox or container up, as the runtime
// alone describes them.
func (c *Client) Running(ctx context.Context) ([]*corev1.Pod, error) {
	sandboxes, containers, err := c.list(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("list what the runtime runs: %w", err)
	}
	pods := map[types.UID]*corev1.Pod{}
	of := func(labels map[string]string) *corev1.Pod {
		uid := types.UID(labels[containerspec.LabelPodUID])
		if uid == "" {
			return nil
		}
		if pods[uid] == nil {
			pods[uid] = &corev1.Pod{}
			pods[uid].UID = uid
			pods[uid].Name, pods[uid].Namespace = labels[containerspec.LabelPodName], labels[containerspec.LabelPodNamespace]
		}
		return pods[uid]
	}
	for _, s := range sandboxes {
		if s.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY {
			of(s.GetLabels())
		}
	}
	for _, k := range containers {
		if k.GetState() != runtimeapi.ContainerState_CONTAINER_RUNNING {
			continue
		}
		if p := of(k.GetLabels()); p != nil {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: k.GetMetadata().GetName(), Image: k.GetImage().GetImage()})
		}
	}
	return slices.Collect(maps.Values(pods)), nil
}

// LogPath returns the absolute path of the file a container logs to.
func (c *Client) LogPath(ctx context.Context, id string) (string, error) {
	resp, err := call(ctx, c, "container_status", c.cfg.RequestTimeout, c.runtime.ContainerStatus,
		&runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return "", err
	}
	if resp.GetStatus().GetLogPath() == "" {
		return "", errors.New("the runtime knows of no log file")
	}
	return resp.GetStatus().GetLogPath(), nil
}
