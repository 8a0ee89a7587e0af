package node

import (
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// snapshot is a value with a way to wait for the next one.
type snapshot struct {
	mu   sync.Mutex
	node pod.Node
	next chan struct{} // closed when node is replaced
}

// Snapshot is what decisions about pods may know of the node now.
func (r *Registrar) Snapshot() pod.Node {
	n, _ := r.Watch()
	return n
}

// Watch returns the snapshot and a channel that is closed when another one
// replaces it, so that those who wait for the network wake up.
func (r *Registrar) Watch() (pod.Node, <-chan struct{}) {
	r.snapshot.mu.Lock()
	defer r.snapshot.mu.Unlock()
	return r.snapshot.node, r.snapshot.next
}

// publish makes a new snapshot of what is known, if it differs.
func (r *Registrar) publish() {
	r.snapshot.mu.Lock()
	defer r.snapshot.mu.Unlock()
	n := pod.Node{Name: r.cfg.Name, NetworkProblem: networkProblem(*r.runtime.Load()), MaxBackoff: r.cfg.MaxBackoff}
	n.HostIPs, n.RecursiveReadOnly = r.hostIPs(), recursiveReadOnly(*r.runtime.Load())
	old := r.snapshot.node
	if r.snapshot.next != nil && n.NetworkProblem == old.NetworkProblem && n.RecursiveReadOnly == old.RecursiveReadOnly && slices.Equal(n.HostIPs, old.HostIPs) {
		return
	}
	if r.snapshot.next != nil {
		close(r.snapshot.next)
	}
	r.snapshot.node, r.snapshot.next = n, make(chan struct{})
}

// recursiveReadOnly is what the runtime's default handler can.
func recursiveReadOnly(s RuntimeState) bool {
	return s.Info != nil && slices.ContainsFunc(s.Info.Handlers, func(h pod.RuntimeHandler) bool {
		return h.Name == "" && h.RecursiveReadOnlyMounts
	})
}

// hostIPs are the addresses of the Node object if a cloud controller rules
// them, else those that the agent posts itself.
func (r *Registrar) hostIPs() []string {
	if n := r.node.Load(); n != nil && r.cfg.ExternalCloud {
		var ips []string
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				ips = append(ips, a.Address)
			}
		}
		if len(ips) > 0 {
			return ips
		}
	}
	if net := r.network.Load(); net != nil {
		return hostIPs(&r.cfg, *net)
	}
	return nil
}

// Addresses are the node's, as last published; nil before that. Nobody may change
// them.
func (r *Registrar) Addresses() []corev1.NodeAddress {
	if n := r.node.Load(); n != nil {
		return n.Status.Addresses
	}
	return nil
}

// Allocatable is what the node has for pods, as last published; nil before that.
// Nobody may change it.
func (r *Registrar) Allocatable() corev1.ResourceList {
	if n := r.node.Load(); n != nil {
		return n.Status.Allocatable
	}
	return nil
}
