package etchosts

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// What the kubelet writes, byte for byte (kubelet_pods.go): programs look for the
// first line to tell whose file it is.
const (
	header     = "# Kubernetes-managed hosts file.\n"
	headerNode = "# Kubernetes-managed hosts file (host network).\n"
	wellKnown  = "127.0.0.1\tlocalhost\n" +
		"::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::0\tip6-localnet\n" +
		"fe00::0\tip6-mcastprefix\n" +
		"fe00::1\tip6-allnodes\n" +
		"fe00::2\tip6-allrouters\n"
	aliasHeader = "\n# Entries added by HostAliases.\n"
)

// podContent is the file of a pod with a network of its own: one line for each of
// its addresses, and one for each of its aliases.
func podContent(podIPs []string, hostname, hostDomain string, aliases []corev1.HostAlias) (string, error) {
	errs := []error{word("the host name", hostname)}
	names := hostname
	if hostDomain != "" {
		errs = append(errs, word("the domain", hostDomain))
		names = hostname + "." + hostDomain + "\t" + hostname
	}
	var b strings.Builder
	b.WriteString(header + wellKnown)
	for i, ip := range podIPs {
		errs = append(errs, word(fmt.Sprintf("pod IP %d", i), ip))
		b.WriteString(ip + "\t" + names + "\n")
	}
	return finish(&b, aliases, errs...)
}

// nodeContent is the file of a pod on the node's network: the node's own, and the
// aliases.
func nodeContent(node string, aliases []corev1.HostAlias) (string, error) {
	var b strings.Builder
	b.WriteString(headerNode + node)
	return finish(&b, aliases)
}

func finish(b *strings.Builder, aliases []corev1.HostAlias, errs ...error) (string, error) {
	if len(aliases) > 0 {
		b.WriteString(aliasHeader)
	}
	for i := range aliases {
		a := &aliases[i]
		errs = append(errs, word(fmt.Sprintf("spec.hostAliases[%d].ip", i), a.IP))
		for j, name := range a.Hostnames {
			errs = append(errs, word(fmt.Sprintf("spec.hostAliases[%d].hostnames[%d]", i, j), name))
		}
		b.WriteString(a.IP + "\t" + strings.Join(a.Hostnames, "\t") + "\n")
	}
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	return b.String(), nil
}

// word refuses what a line of a hosts file does not take for a single word: spaces,
// ends of lines and comments. No address and no DNS name that the API allows has
// any of these.
func word(what, s string) error {
	if s == "" {
		return fmt.Errorf("%s is empty", what)
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '#' {
			return fmt.Errorf("%s is %q: addresses and names are of printable ASCII characters, without spaces and '#'", what, s)
		}
	}
	return nil
}
