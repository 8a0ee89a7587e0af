package cri

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// statusCalls is how many statuses of one pod are asked for at a time.
const statusCalls = 8

// Observe shows one pod. It costs two lists, and a status for each object whose
// status may have changed since the last time, but for a container of whose end an
// event has told. What vanishes meanwhile is left out. At is the moment the runtime was
// asked.
func (c *Client) Observe(ctx context.Context, ref pod.Ref) (pod.Observation, error) {
	o := pod.Observation{At: time.Now()}
	sandboxes, containers, err := c.list(ctx, map[string]string{containerspec.LabelPodUID: string(ref.UID)})
	if err != nil {
		return pod.Observation{}, fmt.Errorf("observe pod %s: %w", ref, err)
	}
	for _, s := range sandboxes {
		if s, ok := sandboxOf(s, ref); ok {
			o.Sandboxes = append(o.Sandboxes, s)
		}
	}
	for _, k := range containers {
		if k, ok := containerOf(k, ref); ok {
			o.Containers = append(o.Containers, k)
		}
	}
	if err := c.detail(ctx, ref, &o); err != nil {
		return pod.Observation{}, fmt.Errorf("observe pod %s: %w", ref, err)
	}
	o.Sort()
	c.cache.put(ref.UID, &o)
	return o, nil
}

// Forget drops what is remembered of a pod that is gone.
func (c *Client) Forget(uid types.UID) { c.cache.forget(uid) }

// list asks for sandboxes and containers at the same time.
func (c *Client) list(ctx context.Context, labels map[string]string) ([]*runtimeapi.PodSandbox, []*runtimeapi.Container, error) {
	var sandboxes *runtimeapi.ListPodSandboxResponse
	var containers *runtimeapi.ListContainersResponse
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		sandboxes, err = call(ctx, c, "list_podsandbox", c.cfg.RequestTimeout, c.runtime.ListPodSandbox,
			&runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{LabelSelector: labels}})
		if err != nil {
			return fmt.Errorf("list sandboxes: %w", err)
		}
		return nil
	})
	g.Go(func() (err error) {
		containers, err = call(ctx, c, "list_containers", c.cfg.RequestTimeout, c.runtime.ListContainers,
			&runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{LabelSelector: labels}})
		if err != nil {
			return fmt.Errorf("list containers: %w", err)
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	return sandboxes.GetItems(), containers.GetContainers(), nil
}

// detail completes the listed objects with their statuses.
func (c *Client) detail(ctx context.Context, ref pod.Ref, o *pod.Observation) error {
	known, now := c.cache.get(ref.UID), o.At
	sandboxGone, containerGone := make([]bool, len(o.Sandboxes)), make([]bool, len(o.Containers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(statusCalls)
	for i := range o.Sandboxes {
		s := &o.Sandboxes[i]
		var ok bool
		if *s, ok = known.sandbox(*s); ok {
			continue
		}
		g.Go(func() error {
			full, found, err := c.sandboxStatus(ctx, *s)
			*s, sandboxGone[i] = full, !found
			return err
		})
	}
	for i := range o.Containers {
		k := &o.Containers[i]
		told := k.State == pod.ContainerExited && known.end.GetId() == k.ID
		var ok bool
		if *k, ok = known.container(*k, now); ok {
			continue
		}
		g.Go(func() error {
			st, found, err := known.end, true, error(nil)
			if !told {
				st, found, err = c.askContainer(ctx, k.ID)
			}
			*k, containerGone[i] = c.lastWords(containerDetail(*k, st), st), !found
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	o.Sandboxes = keep(o.Sandboxes, sandboxGone)
	o.Containers = keep(o.Containers, containerGone)
	return nil
}

// keep drops the objects that are gone.
func keep[T any](all []T, gone []bool) []T {
	var out []T
	for i := range all {
		if !gone[i] {
			out = append(out, all[i])
		}
	}
	return out
}

func (c *Client) sandboxStatus(ctx context.Context, s pod.Sandbox) (full pod.Sandbox, found bool, err error) {
	resp, err := call(ctx, c, "podsandbox_status", c.cfg.RequestTimeout, c.runtime.PodSandboxStatus,
		&runtimeapi.PodSandboxStatusRequest{PodSandboxId: s.ID})
	switch {
	case isNotFound(err):
		return s, false, nil
	case err != nil:
		return s, true, fmt.Errorf("status of sandbox %s: %w", s.ID, err)
	}
	return sandboxDetail(s, resp.GetStatus()), true, nil
}

// containerStatus completes a container, but for what it said itself.
func (c *Client) containerStatus(ctx context.Context, k pod.Container) (full pod.Container, found bool, err error) {
	st, found, err := c.askContainer(ctx, k.ID)
	return containerDetail(k, st), found, err
}

// askContainer returns the status of a container; nil when it is gone or with an
// error.
func (c *Client) askContainer(ctx context.Context, id string) (st *runtimeapi.ContainerStatus, found bool, err error) {
	resp, err := call(ctx, c, "container_status", c.cfg.RequestTimeout, c.runtime.ContainerStatus,
		&runtimeapi.ContainerStatusRequest{ContainerId: id})
	switch {
	case isNotFound(err):
		return nil, false, nil
	case err != nil:
		return nil, true, fmt.Errorf("status of container %s: %w", id, err)
	}
	return resp.GetStatus(), true, nil
}

// lastWords adds what an ended container says about its end to what the runtime
// says: the file at its terminationMessagePath or, by its policy, the end of its
// log. What cannot be read is said in their place (kubelet:
// kuberuntime_container.go).
func (c *Client) lastWords(k pod.Container, st *runtimeapi.ContainerStatus) pod.Container {
	if k.State != pod.ContainerExited || st.GetId() != k.ID {
		return k
	}
	said := ""
	if path := containerspec.TerminationLogOf(st.GetAnnotations(), st.GetMounts()); path != "" && c.cfg.ReadMessage != nil {
		var err error
		if said, err = c.cfg.ReadMessage(path); err != nil {
			said = fmt.Sprintf("Error on reading termination log %s: %v", path, err)
		}
	}
	if said == "" && st.GetLogPath() != "" && c.cfg.TailLog != nil && logSpeaks(st) {
		var err error
		if said, err = c.cfg.TailLog(st.GetLogPath()); err != nil {
			said = fmt.Sprintf("Error on reading termination message from logs: %v", err)
		}
	}
	switch said = cut(said); {
	case k.Message == "":
		k.Message = said
	case said != "":
		k.Message += ": " + said
	}
	return k
}

// logSpeaks says whether the log stands in for a message that was not written.
func logSpeaks(st *runtimeapi.ContainerStatus) bool {
	policy := st.GetAnnotations()[containerspec.AnnotationTerminationMessagePolicy]
	return policy == string(corev1.TerminationMessageFallbackToLogsOnError) &&
		st.GetExitCode() != 0 && st.GetReason() != "ContainerCannotRun" // which has no log
}
