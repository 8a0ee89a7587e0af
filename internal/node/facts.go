package node

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Facts is everything that the Node's status is built from, beside the prior
// Node and the time.
type Facts struct {
	Machine  MachineFacts
	Network  NetworkFacts
	Runtime  RuntimeState
	Pressure Pressure
	// Images may be in any order.
	Images []corev1.ContainerImage
	// Unhealthy says which checks fail, as "<name> is not healthy: <why>".
	Unhealthy []string
}

// MachineFacts are what the machine and its kernel say. A zero value is a fact
// that could not be read; Missing says why.
type MachineFacts struct {
	Cores        int64
	MemoryBytes  int64
	SwapBytes    int64
	StorageBytes int64
	// HugePages maps a page's size to how many bytes of such pages there are.
	HugePages       map[int64]int64
	MachineID       string
	SystemUUID      string
	BootID          string
	KernelVersion   string
	OSImage         string
	OperatingSystem string
	Architecture    string
	UserNamespace   *bool
	Missing         []string
}

// NetworkFacts are the addresses to choose from.
type NetworkFacts struct {
	// Local are the addresses of the machine's interfaces.
	Local []netip.Addr
	// Named are what the node's name resolves to.
	Named []netip.Addr
	// DefaultRoute is the address of the interface that the default route uses,
	// by family (0.0.0.0 or ::, as configured; IPv4 first otherwise).
	DefaultRoute netip.Addr
	// Problem is why DefaultRoute is not known.
	Problem string
}

// Pressure is what eviction sees.
type Pressure struct {
	Memory bool
	Disk   bool
	PID    bool
}

// RuntimeState is what is known of the container runtime.
type RuntimeState struct {
	// Info is the last answer; nil until there was one.
	Info *pod.RuntimeInfo
	// LastOK is when the runtime last said that it was ready.
	LastOK time.Time
	// DownAfter is how long after LastOK the runtime counts as down.
	DownAfter time.Duration
	// Err is why the last question was not answered; empty if it was.
	Err string
}

// Down reports whether the runtime was ready once and is not any more.
func (r RuntimeState) Down(now time.Time) bool {
	return !r.LastOK.IsZero() && now.Sub(r.LastOK) >= r.DownAfter
}

// Event is an event about the node.
type Event struct {
	Type    string
	Reason  string
	Message string
}
