package containerspec

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// DNS is a parsed resolv.conf.
type DNS struct {
	Servers  []string
	Searches []string
	Options  []string
	// Err is why it could not be read. No sandbox is made then.
	Err error
}

// CPUPolicy is how limits of CPU are enforced.
type CPUPolicy struct {
	// NoQuota is cpuCFSQuota: false.
	NoQuota bool
	// Period is cpuCFSQuotaPeriod; zero means 100 ms.
	Period time.Duration
}

// MemoryPolicy is how memory is protected, slowed down and swapped. All of it
// needs cgroup v2, and all but swap the MemoryQoS feature gate. Amounts are bytes.
type MemoryPolicy struct {
	// LimitedSwap is memorySwap.swapBehavior: LimitedSwap. A burstable container
	// may use the part of SwapCapacity, the node's swap, that its request is of
	// the node's memory.
	LimitedSwap  bool
	SwapCapacity int64
	// TieredReservation is memoryReservationPolicy: TieredReservation.
	TieredReservation bool
	// ThrottlingFactor is memoryThrottlingFactor, above 0 and up to 1; nil slows
	// nobody down.
	ThrottlingFactor *float64
	// Allocatable is the node's memory without what is reserved, but with what is
	// kept free by evictions: it stands in for a limit that is not set.
	Allocatable int64
	// PageSize of the kernel; zero means 4096.
	PageSize int64
}

// Node is what a CRI message may depend on beside the pod. The zero value is a
// usable node without logs and cluster DNS.
type Node struct {
	// Name is the Node object's.
	Name string
	// LogRoot is where pod logs live, /var/log/pods by default in the kubelet.
	// Empty asks the runtime for no logs.
	LogRoot string
	// ClusterDNS and ClusterDomain are the configuration fields of these names.
	ClusterDNS    []string
	ClusterDomain string
	// HostDNS is the node's resolv.conf. nil: resolvConf is "", pods of the
	// Default policy get a resolver that finds nothing.
	HostDNS *DNS
	// HostIPs are the node's addresses, primary first.
	HostIPs []string
	// MemoryCapacity in bytes scales oom_score_adj; zero is taken as unknown.
	MemoryCapacity int64
	// Allocatable is the Node's status.allocatable: what variables say for a limit
	// that a container does not have.
	Allocatable corev1.ResourceList
	// CPU and Memory say how requests and limits are enforced.
	CPU    CPUPolicy
	Memory MemoryPolicy
	// CgroupV1 says that the node has no unified hierarchy, where the runtime
	// refuses settings of cgroup v2.
	CgroupV1 bool
	// NoMemoryQoS turns the MemoryQoS feature gate off.
	NoMemoryQoS bool
	// NoSwap keeps containers from swapping (memory.swap.max=0, with cgroup v1 a
	// memory.memsw limit): the node has a swap controller, and pods may not swap
	// beyond what Memory.LimitedSwap gives them.
	NoSwap bool
	// OOMKillGroup is singleProcessOOMKill: false, which is the default with cgroup
	// v2 and impossible with v1.
	OOMKillGroup bool
	// HugePageSizes the kernel offers, as cgroup files name them ("2MB").
	HugePageSizes []string
	// SeccompDefault is the configuration field; SeccompRoot is where Localhost
	// profiles lie.
	SeccompDefault bool
	SeccompRoot    string
	// MaskedPaths are masked in addition to the fixed list: the kubelet masks
	// /sys/devices/system/cpu/cpu<N>/thermal_throttle where it exists.
	MaskedPaths []string
	// SELinux says that the node has it, so that files made for a pod need a label.
	SELinux bool
	// RecursiveReadOnly says that the runtime's default handler supports it.
	RecursiveReadOnly bool
}
