package resolver

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// The limits of a resolv.conf, from the API's validation of spec.dnsConfig.
const (
	maxServers      = 3
	maxSearches     = 32
	maxSearchList   = 2048 // characters
	maxSearch       = 253  // characters
	clusterSearches = 3    // what a pod of the cluster searches before the node's
)

// Message is what users are told about a pod's DNS, as a warning about the pod.
type Message struct {
	// Reason is DNSConfigForming or MissingClusterDNS.
	Reason string
	Text   string
}

// MissingClusterDNS is the text of the warning about the node that goes with a pod's
// message of that reason.
const MissingClusterDNS = `kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. ` +
	`Falling back to "Default" policy.`

// Messages says what of a pod's DNS settings had to be left out, or was not as it asked
// for. They are due whenever a sandbox is made; words and order are the kubelet's.
func Messages(p *corev1.Pod, node *containerspec.Node) []Message {
	var out []Message
	servers, searches, missing := composed(p, node)
	if missing {
		out = append(out, Message{"MissingClusterDNS", fmt.Sprintf("pod: %q. %s", pod.LongName(pod.RefOf(p)), MissingClusterDNS)})
	}
	if c := p.Spec.DNSConfig; c != nil {
		servers = unique(servers, c.Nameservers)
		searches = unique(searches, c.Searches)
	}
	if len(servers) > maxServers {
		out = append(out, Message{"DNSConfigForming", "Nameserver limits were exceeded, some nameservers have been omitted, " +
			"the applied nameserver line is: " + strings.Join(servers[:maxServers], " ")})
	}
	if fit := fitting(searches); len(fit) < len(searches) {
		out = append(out, Message{"DNSConfigForming", "Search Line limits were exceeded, some search paths have been omitted, " +
			"the applied search line is: " + strings.Join(fit, " ")})
	}
	return out
}

// composed is what a pod has by its policy, and whether the policy could not be
// followed for want of a cluster DNS.
func composed(p *corev1.Pod, node *containerspec.Node) (servers, searches []string, missing bool) {
	policy := p.Spec.DNSPolicy
	if policy == corev1.DNSClusterFirst && p.Spec.HostNetwork {
		policy = corev1.DNSDefault
	}
	if policy == corev1.DNSNone {
		return nil, nil, false
	}
	var host containerspec.DNS
	if node.HostDNS != nil {
		host = *node.HostDNS
	}
	cluster := policy != corev1.DNSDefault
	switch {
	case cluster && len(node.ClusterDNS) > 0:
	case node.HostDNS == nil:
		return nobody(node.HostIPs), []string{"."}, cluster
	default:
		return host.Servers, host.Searches, cluster
	}
	if d := node.ClusterDomain; d != "" {
		host.Searches = unique([]string{p.Namespace + ".svc." + d, "svc." + d, d}, host.Searches)
	}
	return node.ClusterDNS, host.Searches, false
}

// nobody is what stands for "no resolver": the loopback of each of the node's address
// families.
func nobody(hostIPs []string) []string {
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

// fitting are the search paths that a resolver accepts: the first ones, without any
// that is too long for a name.
func fitting(searches []string) []string {
	fit := slices.Clone(searches[:min(len(searches), maxSearches)])
	fit = slices.DeleteFunc(fit, func(s string) bool { return len(s) > maxSearch })
	for len(strings.Join(fit, " ")) > maxSearchList {
		fit = fit[:len(fit)-1]
	}
	return fit
}

// overLimits says which limit the search line of the node's file exceeds.
func overLimits(path, clusterDomain string, searches []string) string {
	most := maxSearches
	if clusterDomain != "" {
		most -= clusterSearches
	}
	switch {
	case len(searches) > most:
		return fmt.Sprintf("Resolv.conf file '%s' contains search line consisting of more than %d domains!", path, most)
	case slices.ContainsFunc(searches, func(s string) bool { return len(s) > maxSearch }):
		return fmt.Sprintf("Resolv.conf file %q contains a search path which length is more than allowed %d chars!", path, maxSearch)
	case len(strings.Join(searches, " ")) > maxSearchList:
		return fmt.Sprintf("Resolv.conf file '%s' contains search line which length is more than allowed %d chars!", path, maxSearchList)
	}
	return ""
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
