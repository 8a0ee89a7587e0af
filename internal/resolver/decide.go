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
	if containerspec.MissesClusterDNS(p, node) {
		out = append(out, Message{"MissingClusterDNS", fmt.Sprintf("pod: %q. %s", pod.LongName(pod.RefOf(p)), MissingClusterDNS)})
	}
	wanted := containerspec.WantedDNS(p, node)
	fit := wanted.Fit()
	if len(fit.Servers) < len(wanted.Servers) {
		out = append(out, Message{"DNSConfigForming", "Nameserver limits were exceeded, some nameservers have been omitted, " +
			"the applied nameserver line is: " + strings.Join(fit.Servers, " ")})
	}
	if len(fit.Searches) < len(wanted.Searches) {
		out = append(out, Message{"DNSConfigForming", "Search Line limits were exceeded, some search paths have been omitted, " +
			"the applied search line is: " + strings.Join(fit.Searches, " ")})
	}
	return out
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
