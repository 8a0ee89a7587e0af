package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/cgroups"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/config"
	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// nodeSpec is what CRI messages depend on beside the pod.
type nodeSpec struct {
	fixed  containerspec.Node
	resolv string
	log    *zap.Logger
	node   atomic.Pointer[nodeFacts]
}

func newNodeSpec(cfg *config.Config, log *zap.Logger) *nodeSpec {
	thermal, _ := filepath.Glob("/sys/devices/system/cpu/cpu*/thermal_throttle")
	return &nodeSpec{
		log: log, resolv: cfg.DNS.ResolvConf,
		fixed: containerspec.Node{
			Name: cfg.NodeName, LogRoot: cfg.PodLogsDir,
			ClusterDNS: cfg.DNS.ClusterDNS, ClusterDomain: cfg.DNS.Domain,
			MemoryCapacity: totalMemory(log), SeccompRoot: filepath.Join(cfg.RootDir, "seccomp"),
			HugePageSizes: cgroups.HugePageSizes(), OOMKillGroup: cgroups.IsCgroup2UnifiedMode(),
			NoMemoryQoS: !cfg.Features.Enabled("MemoryQoS"), CgroupV1: !cgroups.IsCgroup2UnifiedMode(),
			MaskedPaths: thermal, NoSwap: swapController(), SELinux: hasSELinux(),
		},
	}
}

// hasSELinux reports whether the kernel enforces, or could enforce, SELinux.
func hasSELinux() bool {
	_, err := os.Stat("/sys/fs/selinux/enforce")
	return err == nil
}

// swapController reports whether the kernel can keep containers from swapping.
func swapController() bool {
	pattern := "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"
	if cgroups.IsCgroup2UnifiedMode() {
		pattern = "/sys/fs/cgroup/*/memory.swap.max"
	}
	found, _ := filepath.Glob(pattern)
	return len(found) > 0
}

// nodeFacts is who knows what may change about the node.
type nodeFacts interface {
	Snapshot() pod.Node
	Allocatable() corev1.ResourceList
}

// follow takes what may change about the node from where it is known.
func (s *nodeSpec) follow(n nodeFacts) { s.node.Store(&n) }

// get returns the node as it is now. The resolver's file is read each time: a
// new lease may have changed it, and a pod start is rare beside that.
func (s *nodeSpec) get() containerspec.Node {
	n := s.fixed
	if facts := s.node.Load(); facts != nil {
		now := (*facts).Snapshot()
		n.HostIPs, n.RecursiveReadOnly = now.HostIPs, now.RecursiveReadOnly
		n.Allocatable = (*facts).Allocatable()
	}
	if s.resolv == "" {
		return n
	}
	data, err := os.ReadFile(s.resolv)
	if err != nil {
		s.log.Warn("cannot read the node's resolver file (resolvConf); pods get no resolver of the node", zap.Error(err))
		return n
	}
	dns := parseResolvConf(data)
	n.HostDNS = &dns
	return n
}

// parseResolvConf reads resolv.conf(5): the last search or domain line wins,
// options add up, what is not understood is passed over.
func parseResolvConf(data []byte) containerspec.DNS {
	var dns containerspec.DNS
	for text := range strings.Lines(string(data)) {
		line, _, _ := strings.Cut(text, "#")
		line, _, _ = strings.Cut(line, ";")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		switch rest := words[1:]; words[0] {
		case "nameserver":
			dns.Servers = append(dns.Servers, rest[:min(len(rest), 1)]...)
		case "search", "domain":
			dns.Searches = nil
			for _, s := range rest {
				dns.Searches = append(dns.Searches, domain(s))
			}
		case "options":
			for _, o := range rest {
				dns.Options = setOption(dns.Options, o)
			}
		}
	}
	return dns
}

// domain leaves out the dot at the end, so that a domain counts once however it
// is written. The root stays what it is.
func domain(s string) string {
	if s == "." {
		return s
	}
	return strings.TrimSuffix(s, ".")
}

// setOption adds an option, in place of one of the same name ("ndots:2").
func setOption(options []string, option string) []string {
	name, _, _ := strings.Cut(option, ":")
	i := slices.IndexFunc(options, func(o string) bool { n, _, _ := strings.Cut(o, ":"); return n == name })
	if i < 0 {
		return append(options, option)
	}
	options[i] = option
	return options
}
