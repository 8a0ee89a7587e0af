package agent

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/events"
	"nodeagent.dev/nodeagent/internal/lifecycle"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/resolver"
	"nodeagent.dev/nodeagent/internal/userns"
)

// grants add to a pod's cgroup what else the node gives to it.
type grants struct {
	lifecycle.Cgroups
	classes  func(ctx context.Context, class *string) (handler string, err error)
	users    *userns.Ranges
	handlers func() []pod.RuntimeHandler
}

// Ensure implements lifecycle.Cgroups.
func (g grants) Ensure(ctx context.Context, p *corev1.Pod) (pod.Grant, error) {
	handler, own, err := g.look(ctx, p)
	if err != nil {
		return pod.Grant{}, err
	}
	grant, err := g.Cgroups.Ensure(ctx, p)
	grant.RuntimeHandler, grant.UserIDs = handler, own
	return grant, err
}

func (g grants) look(ctx context.Context, p *corev1.Pod) (handler string, own *pod.IDRange, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	if handler, err = g.classes(ctx, p.Spec.RuntimeClassName); err != nil {
		return "", nil, &pod.Failure{Reason: "CreatePodSandboxError", Message: err.Error(), Err: err}
	}
	if !pod.OwnUsers(p) {
		return handler, nil, nil
	}
	if err := userns.Supported(g.handlers(), handler); err != nil {
		return "", nil, err
	}
	got, err := g.users.Ensure(p)
	if err != nil {
		return "", nil, err
	}
	return handler, (*pod.IDRange)(got), nil
}

// Remove implements lifecycle.Cgroups: without its cgroup the pod has no process
// left that has its IDs.
func (g grants) Remove(ctx context.Context, ref pod.Ref) error {
	if err := g.Cgroups.Remove(ctx, ref); err != nil {
		return err
	}
	g.users.Forget(ref.UID)
	return nil
}

// sandboxes tells users, when a sandbox is made, what of its pod's DNS settings does
// not fit.
type sandboxes struct {
	lifecycle.Sandboxes
	node   func() containerspec.Node
	events *events.Recorder
}

// CreateSandbox implements lifecycle.Sandboxes.
func (s sandboxes) CreateSandbox(ctx context.Context, req pod.SandboxRequest) (string, error) {
	node := s.node()
	for _, m := range resolver.Messages(req.Pod, &node) {
		s.events.Event(req.Pod, "", true, m.Reason, m.Text)
		if m.Reason == "MissingClusterDNS" {
			s.events.NodeEvent(corev1.EventTypeWarning, m.Reason, resolver.MissingClusterDNS)
		}
	}
	return s.Sandboxes.CreateSandbox(ctx, req)
}
