package containerspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// maxHostname is how much of a host name is kept, in bytes.
const maxHostname = 63

// HostnameAndDomain returns a pod's host name and, if it has a subdomain, the
// domain below which the cluster's DNS knows it, as its /etc/hosts names them:
// setHostnameAsFQDN does not change them, and a hostnameOverride has no domain. On
// the host network they are what they would be elsewhere. Names that the API does
// not allow are a [pod.Failure] with reason CreateContainerConfigError (kubelet:
// kubelet_pods.go).
func HostnameAndDomain(p *corev1.Pod, clusterDomain string) (name, domain string, err error) {
	if p == nil {
		return "", "", configFailure("cannot tell a host name: no pod was given")
	}
	if name, domain, err = hostnameAndDomain(p, clusterDomain); err != nil {
		return "", "", configFailure("%v", err)
	}
	return name, domain, nil
}

// hostnameAndDomain leaves it to the caller what a bad name makes fail.
func hostnameAndDomain(p *corev1.Pod, clusterDomain string) (name, domain string, err error) {
	if o := p.Spec.HostnameOverride; o != nil {
		if msgs := validation.IsDNS1123Subdomain(*o); len(msgs) > 0 {
			return "", "", fmt.Errorf("pod HostnameOverride %q is not a valid DNS subdomain: %s", *o, strings.Join(msgs, ";"))
		}
		name, err = truncateHostname(p.Name, *o)
		return name, "", err
	}
	name = p.Name
	if h := p.Spec.Hostname; h != "" {
		if msgs := validation.IsDNS1123Label(h); len(msgs) > 0 {
			return "", "", fmt.Errorf("pod Hostname %q is not a valid DNS label: %s", h, strings.Join(msgs, ";"))
		}
		name = h
	}
	if name, err = truncateHostname(p.Name, name); err != nil {
		return "", "", err
	}
	sub := p.Spec.Subdomain
	if sub == "" {
		return name, "", nil
	}
	if msgs := validation.IsDNS1123Label(sub); len(msgs) > 0 {
		return "", "", fmt.Errorf("pod Subdomain %q is not a valid DNS label: %s", sub, strings.Join(msgs, ";"))
	}
	return name, sub + "." + p.Namespace + ".svc." + clusterDomain, nil
}

// truncateHostname cuts a name to what the kernel takes.
func truncateHostname(podName, name string) (string, error) {
	if len(name) <= maxHostname {
		return name, nil
	}
	short := strings.TrimRight(name[:maxHostname], "-.")
	if short == "" {
		return "", fmt.Errorf("hostname for pod %q was invalid: %q", podName, name)
	}
	return short, nil
}
