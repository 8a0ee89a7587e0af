package containerspec

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Sandbox returns the message that makes a pod's sandbox. What cannot be built
// is a [pod.Failure] with reason CreatePodSandboxError.
func Sandbox(req pod.SandboxRequest, node Node) (*runtimeapi.PodSandboxConfig, error) {
	p := req.Pod
	if p == nil {
		return nil, sandboxFailure("cannot make a sandbox: no pod was given")
	}
	if pod.OwnUsers(p) != (req.Grant.UserIDs != nil) { // it must not get the node's for want of own ones
		return nil, sandboxFailure("pod %q asks for hostUsers: %t, and that is not what it was granted", p.Name, !pod.OwnUsers(p))
	}
	if dns := node.HostDNS; dns != nil && dns.Err != nil { // of whatever DNS policy, as in the kubelet
		return nil, &pod.Failure{Reason: reasonSandbox, Message: dns.Err.Error(), Err: dns.Err}
	}
	host, err := kernelHostname(p, node.ClusterDomain)
	if err != nil {
		return nil, err
	}
	linux, err := sandboxLinux(req, &node)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{
			Name: p.Name, Namespace: p.Namespace, Uid: string(p.UID), Attempt: req.Attempt,
		},
		Hostname:     host,
		LogDirectory: LogDirectory(node.LogRoot, p.Namespace, p.Name, p.UID),
		DnsConfig:    dnsConfig(p, &node),
		PortMappings: portMappings(p),
		Labels:       sandboxLabels(p),
		Annotations:  maps.Clone(p.Annotations),
		Linux:        linux,
	}, nil
}

// maxFQDN is the longest name that the kernel takes, in bytes.
const maxFQDN = 64

// kernelHostname is what `hostname` says in the pod; empty on the host network,
// where the node's own stays.
func kernelHostname(p *corev1.Pod, clusterDomain string) (string, error) {
	if p.Spec.HostNetwork {
		return "", nil
	}
	name, domain, err := hostnameAndDomain(p, clusterDomain)
	if err != nil {
		return "", sandboxFailure("%v", err)
	}
	if f := p.Spec.SetHostnameAsFQDN; domain == "" || f == nil || !*f {
		return name, nil
	}
	fqdn := name + "." + domain
	if len(fqdn) > maxFQDN {
		return "", sandboxFailure("failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (%d characters is the max, %d characters requested)",
			fqdn, maxFQDN, len(fqdn))
	}
	return fqdn, nil
}

// portMappings are the ports of the regular containers; the kubelet leaves
// those of sidecars out. A port name is used once per container.
func portMappings(p *corev1.Pod) []*runtimeapi.PortMapping {
	var out []*runtimeapi.PortMapping
	for i := range p.Spec.Containers {
		seen := map[corev1.ContainerPort]bool{}
		for _, port := range p.Spec.Containers[i].Ports {
			key := corev1.ContainerPort{Name: port.Name}
			if port.Name == "" {
				key = port
			}
			if seen[key] {
				continue
			}
			seen[key] = true
			out = append(out, &runtimeapi.PortMapping{
				Protocol: protocol(port.Protocol), ContainerPort: port.ContainerPort, HostPort: port.HostPort, HostIp: port.HostIP,
			})
		}
	}
	return out
}

func protocol(p corev1.Protocol) runtimeapi.Protocol {
	switch p {
	case corev1.ProtocolUDP:
		return runtimeapi.Protocol_UDP
	case corev1.ProtocolSCTP:
		return runtimeapi.Protocol_SCTP
	case corev1.ProtocolTCP:
	}
	return runtimeapi.Protocol_TCP
}

func sandboxLinux(req pod.SandboxRequest, node *Node) (*runtimeapi.LinuxPodSandboxConfig, error) {
	p := req.Pod
	sec := &runtimeapi.LinuxSandboxSecurityContext{
		Privileged: anyPrivileged(p),
		Seccomp:    &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
	}
	out := &runtimeapi.LinuxPodSandboxConfig{
		CgroupParent:    req.Grant.CgroupParent,
		SecurityContext: sec,
		Sysctls:         map[string]string{},
		Resources:       sandboxResources(p, node),
		Overhead:        &runtimeapi.LinuxContainerResources{},
	}
	if p.Spec.Overhead != nil {
		cpu, mem := p.Spec.Overhead.Cpu(), p.Spec.Overhead.Memory()
		out.Overhead = linuxResources(cpu.MilliValue(), cpu.MilliValue(), mem.Value(), node)
	}
	// The kubelet sets namespaces only for a pod with a security context; the
	// API server gives every pod one, and a manifest without means the same.
	sec.NamespaceOptions = namespaces(&req)
	sc := p.Spec.SecurityContext
	if sc == nil {
		return out, nil
	}
	for _, s := range sc.Sysctls {
		out.Sysctls[sysctlName(s.Name)] = s.Value
	}
	sec.RunAsUser, sec.RunAsGroup = int64Value(sc.RunAsUser), int64Value(sc.RunAsGroup)
	sec.SelinuxOptions = selinux(sc.SELinuxOptions)
	var err error
	sec.SupplementalGroups, sec.SupplementalGroupsPolicy, err = groups(sc)
	if err != nil {
		return nil, sandboxFailure("%v", err)
	}
	return out, nil
}

// sysctlName writes the name of a sysctl with dots, as runtimes know it, where the
// pod has slashes. The first of either says which of them separates: in
// "net/ipv4/conf/eno2.100/rp_filter" the dot belongs to a device (sysctl.d(5)).
func sysctlName(name string) string {
	if at := strings.IndexAny(name, "./"); at < 0 || name[at] == '.' {
		return name
	}
	return strings.NewReplacer("/", ".", ".", "/").Replace(name)
}

// namespaces are the pod's; a container has a PID namespace of its own unless
// the pod shares one.
func namespaces(req *pod.SandboxRequest) *runtimeapi.NamespaceOption {
	p := req.Pod
	o := &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER, UsernsOptions: users(req.Grant.UserIDs)}
	if p.Spec.HostNetwork {
		o.Network = runtimeapi.NamespaceMode_NODE
	}
	if p.Spec.HostIPC {
		o.Ipc = runtimeapi.NamespaceMode_NODE
	}
	switch {
	case p.Spec.HostPID:
		o.Pid = runtimeapi.NamespaceMode_NODE
	case p.Spec.ShareProcessNamespace != nil && *p.Spec.ShareProcessNamespace:
		o.Pid = runtimeapi.NamespaceMode_POD
	}
	return o
}

// users are the node's, which the kubelet says aloud, or a pod's own.
func users(own *pod.IDRange) *runtimeapi.UserNamespace {
	if own == nil {
		return &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_NODE}
	}
	return &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: idMappings(own), Gids: idMappings(own)}
}

// idMappings are nil for the node's IDs.
func idMappings(own *pod.IDRange) []*runtimeapi.IDMapping {
	if own == nil {
		return nil
	}
	return []*runtimeapi.IDMapping{{HostId: own.First, ContainerId: 0, Length: own.Length}}
}

// sandboxResources are the sums over the pod, without its overhead.
func sandboxResources(p *corev1.Pod, node *Node) *runtimeapi.LinuxContainerResources {
	opts := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
	requests, limits := resourcehelper.PodRequests(p, opts), resourcehelper.PodLimits(p, opts)
	request := limits.Cpu().MilliValue()
	if q, ok := requests[corev1.ResourceCPU]; ok {
		request = q.MilliValue()
	}
	return linuxResources(request, limits.Cpu().MilliValue(), limits.Memory().Value(), node)
}
