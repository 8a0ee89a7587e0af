package node

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// buildAddresses sets the addresses, or keeps the prior ones and names the
// problem.
func buildAddresses(r *Result, cfg *Config, net NetworkFacts) {
	for _, ip := range cfg.IPs {
		if err := usable(ip, net.Local); err != nil && !ip.IsUnspecified() {
			r.Problems = append(r.Problems, fmt.Sprintf("node IP %s cannot be used: %v", ip, err))
			return
		}
	}
	annotateProvidedIP(r.Node, cfg)
	if cfg.ExternalCloud {
		if len(r.Node.Status.Addresses) > 0 {
			return // the cloud's addresses win
		}
		if len(cfg.IPs) == 0 {
			r.Node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: cfg.Hostname}}
			return
		}
	}
	ips := chooseIPs(cfg, net)
	if len(ips) == 0 {
		r.Problems = append(r.Problems, fmt.Sprintf("can't get ip address of node %s: %s", cfg.Name, net.Problem))
		return
	}
	addresses := make([]corev1.NodeAddress, 0, len(ips)+1)
	for _, ip := range ips {
		addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip.String()})
	}
	r.Node.Status.Addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: cfg.Hostname})
}

// chooseIPs takes the first of: what is configured, a hostname that is an
// address, an own address that the node's name resolves to, the address of the
// default route.
func chooseIPs(cfg *Config, net NetworkFacts) []netip.Addr {
	if ips := specified(cfg.IPs); len(ips) > 0 && ips[0] == cfg.IPs[0] {
		return ips
	}
	if ip, err := netip.ParseAddr(cfg.Hostname); err == nil {
		return []netip.Addr{ip}
	}
	want6 := len(cfg.IPs) > 0 && cfg.IPs[0].Is6()
	var other netip.Addr
	for _, ip := range net.Named {
		switch {
		case usable(ip, net.Local) != nil:
		case ip.Is6() == want6:
			return []netip.Addr{ip}
		case !other.IsValid():
			other = ip
		}
	}
	if other.IsValid() {
		return []netip.Addr{other}
	}
	if net.DefaultRoute.IsValid() {
		return []netip.Addr{net.DefaultRoute}
	}
	return nil
}

func specified(ips []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(ips), func(ip netip.Addr) bool { return ip.IsUnspecified() })
}

// usable says why an address cannot be the node's.
func usable(ip netip.Addr, local []netip.Addr) error {
	switch {
	case ip.IsLoopback():
		return errors.New("it is a loopback address")
	case ip.IsMulticast():
		return errors.New("it is a multicast address")
	case ip.IsLinkLocalUnicast():
		return errors.New("it is a link-local address")
	case ip.IsUnspecified():
		return errors.New("it is the unspecified address")
	case !slices.Contains(local, ip):
		return errors.New("no network interface of the machine has it")
	}
	return nil
}

// annotateProvidedIP tells a cloud controller which address was configured.
func annotateProvidedIP(n *corev1.Node, cfg *Config) {
	ips := specified(cfg.IPs)
	if !cfg.ExternalCloud || len(ips) == 0 {
		delete(n.Annotations, annotationProvidedIP)
		return
	}
	if n.Annotations == nil {
		n.Annotations = map[string]string{}
	}
	texts := make([]string, 0, len(ips))
	for _, ip := range ips {
		texts = append(texts, ip.String())
	}
	n.Annotations[annotationProvidedIP] = strings.Join(texts, ",")
}

// hostIPs are the node's addresses for pods, primary first.
func hostIPs(cfg *Config, net NetworkFacts) []string {
	var list []string
	for _, ip := range chooseIPs(cfg, net) {
		list = append(list, ip.String())
	}
	return list
}
