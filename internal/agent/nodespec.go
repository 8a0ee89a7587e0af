package agent

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/cgroups"
	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/config"
	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// nodeSpec is what CRI messages depend on beside the pod.
type nodeSpec struct {
	fixed    containerspec.Node
	resolv   string
	log      *zap.Logger
	snapshot atomic.Pointer[func() pod.Node]
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
			MaskedPaths: thermal,
		},
	}
}

// follow takes the node's addresses from where they are known.
func (s *nodeSpec) follow(n interface{ Snapshot() pod.Node }) {
	get := n.Snapshot
	s.snapshot.Store(&get)
}

// get returns the node as it is now. The resolver's file is read each time: a
// new lease may have changed it, and a pod start is rare beside that.
func (s *nodeSpec) get() containerspec.Node {
	n := s.fixed
	if get := s.snapshot.Load(); get != nil {
		n.HostIPs = (*get)().HostIPs
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
// what is not understood is passed over.
func parseResolvConf(data []byte) containerspec.DNS {
	var dns containerspec.DNS
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		line, _, _ = strings.Cut(line, ";")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			dns.Servers = append(dns.Servers, words[1])
		case "search", "domain":
			dns.Searches = words[1:]
		case "options":
			dns.Options = words[1:]
		}
	}
	return dns
}
