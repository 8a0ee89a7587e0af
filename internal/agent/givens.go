package agent

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/etchosts"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/termination"
)

// givens gives containers what several parts of the agent have for them.
type givens struct {
	clusterDomain string
	hosts         *etchosts.Files
	messages      *termination.Files
	node          func() pod.Node
}

// Give implements lifecycle.Givens.
func (g givens) Give(_ context.Context, req *pod.ContainerRequest, podIPs []string) (err error) {
	p, c := req.Sandbox.Pod, req.Container
	hostIPs := g.node().HostIPs
	if p.Spec.HostNetwork {
		podIPs = hostIPs
	}
	req.Environment.PodIPs, req.Environment.HostIPs = podIPs, hostIPs
	if containerspec.WantsHostsFile(c) {
		name, domain, err := containerspec.HostnameAndDomain(p, g.clusterDomain)
		if err != nil {
			return err
		}
		if req.HostsFile, err = g.hosts.Ensure(p, podIPs, name, domain); err != nil {
			return err
		}
	}
	if c.TerminationMessagePath != "" {
		if req.TerminationLog, err = g.messages.Create(p.UID, c.Name); err != nil {
			return fmt.Errorf("making the termination message file of container %s: %w", c.Name, err)
		}
	}
	return nil
}

// Forget implements lifecycle.Givens.
func (g givens) Forget(types.UID) {}
