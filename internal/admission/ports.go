package admission

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// anyIP is the host IP of a port that is taken on all of the node's addresses.
// Only this spelling means all of them.
const anyIP = "0.0.0.0"

// hostPort is a port of the node, on whatever address.
type hostPort struct {
	protocol corev1.Protocol
	number   int32
}

// portsTaken reports whether another pod has a port of the node that the pod
// wants. Ports that one pod has twice are left to its containers.
func portsTaken(p *corev1.Pod, others []*Tenant) bool {
	wanted := map[hostPort]map[string]bool{}
	eachHostPort(p, func(port hostPort, ip string) bool {
		if wanted[port] == nil {
			wanted[port] = map[string]bool{}
		}
		wanted[port][ip] = true
		return true
	})
	if len(wanted) == 0 {
		return false
	}
	taken := false
	for _, other := range others {
		eachHostPort(other.tame, func(port hostPort, ip string) bool {
			ips := wanted[port]
			taken = len(ips) > 0 && (ip == anyIP || ips[anyIP] || ips[ip])
			return !taken
		})
		if taken {
			return true
		}
	}
	return false
}

// eachHostPort yields the ports of the node that the pod has for as long as it
// lives, until yield returns false.
func eachHostPort(p *corev1.Pod, yield func(port hostPort, ip string) bool) {
	for kind, c := range pod.Containers(p) {
		if kind != pod.KindRegular && kind != pod.KindSidecar {
			continue
		}
		for _, port := range c.Ports {
			if port.HostPort <= 0 {
				continue
			}
			if !yield(hostPort{cmp.Or(port.Protocol, corev1.ProtocolTCP), port.HostPort}, cmp.Or(port.HostIP, anyIP)) {
				return
			}
		}
	}
}
