package stats

import (
	"time"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Kind is what a cgroup is for.
type Kind int

// The kinds, from the top down.
const (
	KindRoot      Kind = iota // the machine: "/"
	KindSystem                // the agent's, the runtime's, and others outside kubepods
	KindQoS                   // kubepods, and its burstable and besteffort
	KindPod                   // a pod's, around its sandbox and containers
	KindSandbox               // the pause container's, which holds the pod's network
	KindContainer             // one container's
)

// Group is one cgroup, and what it is called by those who know it.
type Group struct {
	Kind Kind
	// Path is the cgroup below the root of its hierarchies, "/kubepods/pod<uid>": what
	// cAdvisor shows as "id".
	Path string
	// Pod is set from KindPod on.
	Pod pod.Ref
	// Container is the container's name in the pod; KindContainer only.
	Container string
	// RuntimeID is the runtime's ID of the container or of the sandbox, without the
	// runtime's name: what cAdvisor shows as "name".
	RuntimeID string
	// Image is what the runtime says that it was made from; empty: not known.
	Image string
	// Started is when the runtime started it, or else when the cgroup was made.
	Started time.Time
	// HostNetwork: the pod has the machine's network devices and none of its own.
	HostNetwork bool

	network bool // the pod's network is seen from its processes
}

// Row is a cgroup and what it had used at a time.
type Row struct {
	Group
	Sample
}

// Sample is what a cgroup had used at a time. What is nil was not asked for, or this
// machine does not account for it.
type Sample struct {
	// At is when it was read, Made when the cgroup was made.
	At, Made  time.Time
	CPU       *CPU
	Memory    *Memory
	IO        *IO
	Processes *Processes
	// Network has the devices in the order of the kernel, without lo and those that
	// belong to the pods of the machine (veth...). KindRoot and KindSandbox have it;
	// where a pod has no sandbox's cgroup, its first container.
	Network []Interface
	Limits  *Limits

	pid int // a process of the cgroup; 0: not known
}

// CPU is time that processes ran. All times are nanoseconds since the cgroup was
// made.
type CPU struct {
	Total, User, System uint64
	// Periods of the quota that have passed, how many of them were throttled, and how
	// long (nanoseconds). Zero without a quota.
	Periods, ThrottledPeriods, ThrottledTime uint64
	// Bursts are the periods in which more than the quota was used, BurstTime how much.
	Bursts, BurstTime uint64
	Pressure          *Pressure
}

// Memory is in bytes, and counts what is below the cgroup, too.
type Memory struct {
	// Usage is all, WorkingSet what is left without the inactive pages of files.
	Usage, WorkingSet uint64
	// Max is the most there was (0 where the kernel does not tell), Failures how often
	// the limit was hit (v1).
	Max, Failures uint64
	// Swap is what was swapped out; Kernel what the kernel holds for it (v1: kmem).
	Swap, Kernel uint64
	Content      MemoryContent
	Faults       MemoryFaults
	Pressure     *Pressure
}

// MemoryContent is what memory is used for, in bytes. Fields without a v1 are zero
// there.
type MemoryContent struct {
	RSS, Cache, Mapped       uint64
	ActiveFile, InactiveFile uint64
	Dirty, Writeback         uint64 // v2
}

// MemoryFaults counts what went on.
type MemoryFaults struct {
	// Page and MajorPage are the cgroup's own on v1, as cAdvisor shows them, and those
	// below it too on v2.
	Page, MajorPage uint64
	Scanned, Stolen uint64 // v2
	// RefaultedFile and RefaultedAnon are as Page and MajorPage.
	RefaultedFile, RefaultedAnon uint64
	EventsHigh, EventsMax        uint64 // v2: memory.events
	OOMKills                     uint64 // memory.events or memory.oom_control; 0 where neither tells
}

// IO is what passed through the block devices.
type IO struct {
	Devices  []Device
	Pressure *Pressure
}

// Device is one block device. The figures are sums since the cgroup was made.
type Device struct {
	// Name is "/dev/sda"; empty where the machine does not tell.
	Name                   string
	Major, Minor           uint64
	ReadBytes, WriteBytes  uint64
	Reads, Writes          uint64
	SyncBytes, AsyncBytes  uint64 // v1
	Syncs, Asyncs          uint64 // v1
	DiscardBytes, Discards uint64
	TotalBytes, Total      uint64 // v1
}

// Processes counts what runs. Files, Sockets and OpenFilesLimit are only there when
// asked for: they take looking at every process.
type Processes struct {
	// Count is how many processes are in the cgroup itself, not below it: 0 for a pod.
	Count uint64
	// Threads counts those below it, too; ThreadsMax is their limit, Unlimited without.
	Threads, ThreadsMax uint64
	Files, Sockets      uint64
	// OpenFilesLimit is the soft limit of the first process; -1: unlimited, nil: not
	// known.
	OpenFilesLimit *int64
}

// Interface is a network device; the figures are sums since it was made.
type Interface struct {
	Name                                    string
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// Unlimited is a limit that there is not.
const Unlimited = ^uint64(0)

// Limits are what a cgroup may use.
type Limits struct {
	// Shares are v1's cpu.shares, or what cAdvisor makes of cpu.weight. Period and
	// Quota are microseconds; Quota is 0 without one.
	Shares, Period, Quota uint64
	// Memory, Swap (on v1 together with memory) and Reservation are bytes. On v1 the
	// kernel tells a number near 2^63 where there is no limit.
	Memory, Swap, Reservation uint64
	// Has... tell whether the cgroup has the controllers, HasSwap whether swap is
	// accounted for.
	HasCPU, HasMemory, HasSwap bool
}

// Pressure is how long processes waited for a resource (PSI).
type Pressure struct {
	// Some: at least one process waited. Full: all of them did.
	Some, Full Stall
}

// Stall is how long. Total is in nanoseconds; the averages are percentages of the
// last 10, 60 and 300 seconds.
type Stall struct {
	Total                uint64
	Avg10, Avg60, Avg300 float64
}

// Need says what of a [Sample] is wanted; what is not, costs nothing.
type Need uint

// What can be wanted.
const (
	NeedCPU          Need = 1 << iota // CPU.Total
	NeedCPUDetail                     // the rest of CPU, without Pressure
	NeedMemory                        // Usage, WorkingSet, Swap, Content and Faults of Memory as far as memory.stat tells
	NeedMemoryDetail                  // the rest of Memory, without Pressure
	NeedIO                            // IO, without Pressure
	NeedProcesses                     // Processes.Count
	NeedThreads                       // Processes.Threads and ThreadsMax
	NeedFiles                         // the rest of Processes
	NeedNetwork                       // Network
	NeedMemoryLimits                  // the part of Limits about memory
	NeedSwapLimits                    // only Limits.Swap, and of containers alone
	NeedCPULimits                     // the part of Limits about CPU
	NeedPressure                      // every Pressure, where the kernel has it
	NeedSandboxes                     // all that is needed of sandboxes, too; else only what the pod is told by
	// NeedLimits is all of Limits.
	NeedLimits = NeedMemoryLimits | NeedSwapLimits | NeedCPULimits
	// NeedAll is all of it.
	NeedAll = NeedSandboxes<<1 - 1
)

func (n Need) has(what Need) bool { return n&what != 0 }

// of is what is needed of a group; 0: nothing.
func (n Need) of(g *Group) Need {
	if g.Kind != KindRoot && !g.network {
		n &^= NeedNetwork
	}
	switch g.Kind {
	case KindSandbox:
		if !n.has(NeedSandboxes) {
			n &= NeedNetwork | NeedProcesses
		}
	case KindContainer:
	case KindRoot, KindSystem, KindQoS, KindPod:
		n &^= NeedSwapLimits // nobody limits it there
		if g.Kind == KindPod && !n.has(NeedThreads) {
			n &^= NeedProcesses // they are in its containers
		}
	}
	if n.has(NeedNetwork) && g.Kind != KindRoot {
		n |= NeedProcesses // they are who sees it
	}
	return n &^ NeedSandboxes
}
