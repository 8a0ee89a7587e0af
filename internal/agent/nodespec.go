package agent

import (
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/opencontainers/cgroups"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/cgroup"
	"nodeagent.dev/nodeagent/internal/config"
	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/resolver"
)

// nodeSpec is what CRI messages depend on beside the pod.
type nodeSpec struct {
	fixed  containerspec.Node
	resolv *resolver.File
	node   atomic.Pointer[nodeFacts]
}

func newNodeSpec(cfg *config.Config, log *zap.Logger) *nodeSpec {
	thermal, _ := filepath.Glob("/sys/devices/system/cpu/cpu*/thermal_throttle")
	return &nodeSpec{
		resolv: resolver.NewFile(cfg.DNS.ResolvConf),
		fixed: containerspec.Node{
			Name: cfg.NodeName, LogRoot: cfg.PodLogsDir,
			ClusterDNS: cfg.DNS.ClusterDNS, ClusterDomain: cfg.DNS.Domain,
			MemoryCapacity: totalMemory(log), SeccompRoot: filepath.Join(cfg.RootDir, "seccomp"),
			HugePageSizes: cgroups.HugePageSizes(), OOMKillGroup: killsGroups(cfg),
			CPU:            containerspec.CPUPolicy{NoQuota: !cfg.Cgroup.CPUQuota, Period: cfg.Cgroup.CPUPeriod},
			SeccompDefault: cfg.Pods.SeccompDefault,
			NoMemoryQoS:    !cfg.Features.Enabled("MemoryQoS"), CgroupV1: !cgroups.IsCgroup2UnifiedMode(),
			MaskedPaths: thermal, NoSwap: swapController(), SELinux: hasSELinux(),
		},
	}
}

// killsGroups reports whether a container that is out of memory loses all of its
// processes at once, which the kernel can do with cgroup v2.
func killsGroups(cfg *config.Config) bool {
	single := cfg.Memory.SingleProcessOOMKill
	return cgroups.IsCgroup2UnifiedMode() && (single == nil || !*single)
}

// memoryPolicy is how the memory of containers is protected, slowed down and
// swapped. limits is what all pods together may have.
func memoryPolicy(cfg *config.Config, limits cgroup.NodeLimits, swap int64) containerspec.MemoryPolicy {
	allocatable := limits.Allocatable()[corev1.ResourceMemory]
	return containerspec.MemoryPolicy{
		LimitedSwap: cfg.Memory.LimitedSwap, SwapCapacity: swap,
		TieredReservation: cfg.Memory.TieredReservation, ThrottlingFactor: cfg.Memory.ThrottlingFactor,
		Allocatable: allocatable.Value(), PageSize: int64(os.Getpagesize()),
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

// allocatable is what pods may use of the node as it is now; nil: not known yet.
func (s *nodeSpec) allocatable() corev1.ResourceList {
	if facts := s.node.Load(); facts != nil {
		return (*facts).Allocatable()
	}
	return nil
}

// get returns the node as it is now. The resolver's file is looked at each time: a
// new lease may have changed it.
func (s *nodeSpec) get() containerspec.Node {
	n := s.fixed
	if facts := s.node.Load(); facts != nil {
		now := (*facts).Snapshot()
		n.HostIPs, n.RecursiveReadOnly = now.HostIPs, now.RecursiveReadOnly
	}
	n.Allocatable = s.allocatable()
	// A file that cannot be read is no reason to give pods another resolver: they
	// would keep it for all their lives.
	dns, err := s.resolv.DNS()
	if err != nil {
		dns = &containerspec.DNS{Err: err}
	}
	n.HostDNS = dns
	return n
}
