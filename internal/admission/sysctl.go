package admission

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	sysctlhelper "k8s.io/component-helpers/node/util/sysctl"
)

// maxSysctlName is the longest name that the API allows.
const maxSysctlName = 253

// sysctls are those that pods may set, with the kernel namespace that keeps a
// pod's value from others.
type sysctls struct {
	names    map[string]sysctlhelper.Namespace
	prefixes map[string]sysctlhelper.Namespace
}

// safeSysctl is one that every pod may set, from a version of the kernel on.
type safeSysctl struct{ name, since string }

// safeSysctls are the sysctls that Kubernetes calls safe. The versions are those
// in which the kernel gave each network namespace its own.
func safeSysctls() []safeSysctl {
	return []safeSysctl{
		{"kernel.shm_rmid_forced", ""},
		{"net.ipv4.ip_local_port_range", ""},
		{"net.ipv4.tcp_syncookies", ""},
		{"net.ipv4.ping_group_range", ""},
		{"net.ipv4.ip_unprivileged_port_start", ""},
		{"net.ipv4.ip_local_reserved_ports", "3.16"},
		{"net.ipv4.tcp_keepalive_time", "4.5"},
		{"net.ipv4.tcp_keepalive_intvl", "4.5"},
		{"net.ipv4.tcp_keepalive_probes", "4.5"},
		{"net.ipv4.tcp_fin_timeout", "4.6"},
		{"net.ipv4.tcp_notsent_lowat", "4.6"},
		{"net.ipv4.tcp_rmem", "4.15"},
		{"net.ipv4.tcp_wmem", "4.15"},
		{"net.ipv4.tcp_slow_start_after_idle", "4.15"},
	}
}

// allowSysctls is the safe sysctls of the kernel and what the node's owner adds.
func allowSysctls(kernel string, unsafe []string) (sysctls, error) {
	s := sysctls{names: map[string]sysctlhelper.Namespace{}, prefixes: map[string]sysctlhelper.Namespace{}}
	running, err := version.ParseGeneric(strings.TrimSpace(kernel))
	known := err == nil
	for _, safe := range safeSysctls() {
		if safe.since != "" && (!known || running.LessThan(version.MustParseGeneric(safe.since))) {
			continue
		}
		s.names[safe.name], _, _ = sysctlhelper.GetNamespace(safe.name)
	}
	// Names in parts, with dots or slashes between them; the last may end in "*".
	pattern := regexp.MustCompile(`^(?:[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?[./])*(?:[a-z0-9][-_a-z0-9]*)?[a-z0-9*]$`)
	for _, u := range unsafe {
		if len(u) > maxSysctlName || !pattern.MatchString(u) {
			return sysctls{}, fmt.Errorf("reading allowedUnsafeSysctls: %q is neither a sysctl nor a prefix of some: it must have at most %d characters and match %s; correct or remove it", u, maxSysctlName, pattern)
		}
		namespace, name, prefix := sysctlhelper.GetNamespace(u)
		switch {
		case namespace == sysctlhelper.UnknownNamespace:
			return sysctls{}, fmt.Errorf("reading allowedUnsafeSysctls: the sysctls %q are not known to be namespaced, a pod's value would be the whole node's; remove %q", name, u)
		case prefix:
			s.prefixes[name] = namespace
		default:
			s.names[name] = namespace
		}
	}
	return s, nil
}

// check refuses a pod that sets what is not allowed, or what would be set for
// the whole node because the pod shares the node's namespace.
func (s sysctls) check(p *corev1.Pod) *Rejection {
	if p.Spec.SecurityContext == nil {
		return nil
	}
	for _, wanted := range p.Spec.SecurityContext.Sysctls {
		name := sysctlhelper.NormalizeName(wanted.Name)
		namespace, allowed := s.namespace(name)
		if !allowed {
			return reject(ReasonSysctlForbidden, fmt.Sprintf("forbidden sysctl: %q not allowlisted", name))
		}
		if sharesNamespace(p, namespace) {
			return reject(ReasonSysctlForbidden, fmt.Sprintf("forbidden sysctl: %q not allowed with host %s enabled", name, namespace))
		}
	}
	return nil
}

// namespace is that of an allowed sysctl. All prefixes that a name begins with
// have the same.
func (s sysctls) namespace(name string) (sysctlhelper.Namespace, bool) {
	if namespace, allowed := s.names[name]; allowed {
		return namespace, true
	}
	for prefix, namespace := range s.prefixes {
		if strings.HasPrefix(name, prefix) {
			return namespace, true
		}
	}
	return "", false
}

// sharesNamespace reports whether the pod lives in the node's namespace of this
// kind. The kubelet does not look at the UTS namespace.
func sharesNamespace(p *corev1.Pod, namespace sysctlhelper.Namespace) bool {
	switch namespace {
	case sysctlhelper.IPCNamespace:
		return p.Spec.HostIPC
	case sysctlhelper.NetNamespace:
		return p.Spec.HostNetwork
	case sysctlhelper.UserNamespace:
		return p.Spec.HostUsers == nil || *p.Spec.HostUsers
	default:
		return false
	}
}
