package containerspec

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The limits of a pod's resolv.conf, from the API's validation.
const (
	maxNameservers     = 3
	maxSearches        = 32
	maxSearchListBytes = 2048
	maxSearchBytes     = 253
)

// dnsConfig builds a pod's resolv.conf. What exceeds the limits is dropped.
func dnsConfig(p *corev1.Pod, node *Node) *runtimeapi.DNSConfig {
	fit := WantedDNS(p, node).Fit()
	return &runtimeapi.DNSConfig{Servers: fit.Servers, Searches: fit.Searches, Options: fit.Options}
}

// MissesClusterDNS reports whether the pod wants the DNS of a cluster that has none.
func MissesClusterDNS(p *corev1.Pod, node *Node) bool {
	return clusterPolicy(p) && len(node.ClusterDNS) == 0
}

// WantedDNS is what a pod's resolv.conf would say if there were no limits.
func WantedDNS(p *corev1.Pod, node *Node) DNS {
	var out DNS
	switch {
	case p.Spec.DNSPolicy == corev1.DNSNone:
	case clusterPolicy(p) && len(node.ClusterDNS) > 0:
		out.Servers = slices.Clone(node.ClusterDNS)
		out.Searches = clusterSearches(p.Namespace, node)
		out.Options = []string{"ndots:5"}
	case node.HostDNS != nil:
		out.Servers = slices.Clone(node.HostDNS.Servers)
		out.Searches = slices.Clone(node.HostDNS.Searches)
		out.Options = slices.Clone(node.HostDNS.Options)
	default:
		out.Servers = localResolvers(node.HostIPs)
		out.Searches = []string{"."}
	}
	if c := p.Spec.DNSConfig; c != nil {
		out.Servers = unique(out.Servers, c.Nameservers)
		out.Searches = unique(out.Searches, c.Searches)
		out.Options = mergeOptions(out.Options, c.Options)
	}
	return out
}

// Fit leaves out what is more than a resolver takes.
func (d DNS) Fit() DNS {
	d.Servers, d.Searches = d.Servers[:min(len(d.Servers), maxNameservers)], fitSearches(d.Searches)
	return d
}

// clusterPolicy reports whether the pod asks the cluster's DNS first. An
// unknown policy counts as ClusterFirst, as in the kubelet.
func clusterPolicy(p *corev1.Pod) bool {
	switch p.Spec.DNSPolicy {
	case corev1.DNSDefault, corev1.DNSNone:
		return false
	case corev1.DNSClusterFirst:
		return !p.Spec.HostNetwork
	case corev1.DNSClusterFirstWithHostNet:
	}
	return true
}

func clusterSearches(namespace string, node *Node) []string {
	var host []string
	if node.HostDNS != nil {
		host = node.HostDNS.Searches
	}
	d := node.ClusterDomain
	if d == "" {
		return slices.Clone(host)
	}
	return unique([]string{namespace + ".svc." + d, "svc." + d, d}, host)
}

// localResolvers is what stands for "no resolver": the loopback of each of the
// node's address families.
func localResolvers(hostIPs []string) []string {
	var out []string
	for _, ip := range hostIPs {
		if strings.Contains(ip, ":") {
			out = append(out, "::1")
		} else {
			out = append(out, "127.0.0.1")
		}
	}
	if len(out) == 0 {
		return []string{"127.0.0.1"}
	}
	return out
}

// unique joins two lists without doubles, in order.
func unique(a, b []string) []string {
	var out []string
	for _, s := range slices.Concat(a, b) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// mergeOptions lets the pod's options replace the ones of the same name. The
// kubelet's order is random; ours is that of first mention.
func mergeOptions(base []string, extra []corev1.PodDNSConfigOption) []string {
	var names []string
	values := map[string]string{}
	set := func(name, value string) {
		if _, known := values[name]; !known {
			names = append(names, name)
		}
		values[name] = value
	}
	for _, o := range base {
		name, value, _ := strings.Cut(o, ":")
		set(name, value)
	}
	for _, o := range extra {
		value := ""
		if o.Value != nil {
			value = *o.Value
		}
		set(o.Name, value)
	}
	var out []string
	for _, n := range names {
		if v := values[n]; v != "" {
			n += ":" + v
		}
		out = append(out, n)
	}
	return out
}

// fitSearches drops search paths until the list is one a resolver accepts.
func fitSearches(in []string) []string {
	if len(in) > maxSearches {
		in = in[:maxSearches]
	}
	out := slices.DeleteFunc(slices.Clone(in), func(s string) bool { return len(s) > maxSearchBytes })
	for len(strings.Join(out, " ")) > maxSearchListBytes {
		out = out[:len(out)-1]
	}
	return out
}
