package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Config is what the node is told about itself.
type Config struct {
	// Name is the Node object's name, Hostname what the node calls itself; it
	// may be an IP address.
	Name     string
	Hostname string
	// Version is posted as kubeletVersion.
	Version string
	// IPs are the configured addresses, none, one, or one of each family. An
	// unspecified address (0.0.0.0, ::) only chooses the family.
	IPs []netip.Addr
	// Port of the agent's own HTTPS server.
	Port int32
	// ExternalCloud leaves the addresses to a cloud controller.
	ExternalCloud bool
	// DeclaredFeatures are what the agent really implements.
	DeclaredFeatures []string
	// MaxImages bounds the list of images; -1 is no bound.
	MaxImages int32
	// MaxBackoff is passed on in the snapshot.
	MaxBackoff time.Duration
	Registration
	Resources
	Timing Timing
}

// Registration is what matters when the Node object is made.
type Registration struct {
	// Register makes the agent create the Node object.
	Register bool
	// Labels and Taints are only set when the object is created.
	Labels     map[string]string
	Taints     []corev1.Taint
	ProviderID string
	// AttachDetach says that a controller attaches volumes for this node.
	AttachDetach bool
}

// Resources is what the node keeps for itself and how many pods it takes.
type Resources struct {
	MaxPods     int64
	PodsPerCore int64
	// SystemReserved and KubeReserved are not for pods.
	SystemReserved corev1.ResourceList
	KubeReserved   corev1.ResourceList
	// EvictMemory and EvictStorage are the hard eviction thresholds of
	// memory.available and nodefs.available.
	EvictMemory  Threshold
	EvictStorage Threshold
}

// Threshold is an amount or a share of the capacity.
type Threshold struct {
	Bytes    int64
	Fraction float32
}

// Timing are the periods of the loops. Zero values mean the defaults.
type Timing struct {
	StatusUpdate  time.Duration // default 10 s
	StatusReport  time.Duration // default 5 min
	LeaseDuration time.Duration // default 40 s; renewed four times in it
	RuntimePoll   time.Duration // default 5 s
	RuntimeDown   time.Duration // default 30 s
}

func (c *Config) validate() error {
	switch {
	case c.Name == "":
		return errors.New("node: the name is empty")
	case c.Hostname == "":
		return errors.New("node: the hostname is empty")
	case len(c.IPs) > 2:
		return fmt.Errorf("node: %d node IPs are configured, at most 2 are possible", len(c.IPs))
	case len(c.IPs) == 2 && c.IPs[0].Unmap().Is4() == c.IPs[1].Unmap().Is4():
		return fmt.Errorf("node: the node IPs %v are of one family; two must be one IPv4 and one IPv6 address", c.IPs)
	case c.MaxPods <= 0:
		return fmt.Errorf("node: maxPods is %d, must be more than 0", c.MaxPods)
	case c.MaxImages < -1:
		return fmt.Errorf("node: nodeStatusMaxImages is %d, must be at least -1", c.MaxImages)
	}
	return nil
}

func (t Timing) withDefaults() Timing {
	orElse(&t.StatusUpdate, 10*time.Second)
	orElse(&t.StatusReport, 5*time.Minute)
	orElse(&t.LeaseDuration, 40*time.Second)
	orElse(&t.RuntimePoll, 5*time.Second)
	orElse(&t.RuntimeDown, 30*time.Second)
	return t
}

func orElse(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// Runtime is the container runtime, as far as the node is concerned.
type Runtime interface {
	Info(ctx context.Context) (pod.RuntimeInfo, error)
}

// Machine gathers facts of the machine; what cannot be read is named in them.
type Machine interface {
	Gather(ctx context.Context) MachineFacts
	Network(ctx context.Context) NetworkFacts
}

// Images lists the images on the node, in any order.
type Images interface {
	NodeImages(ctx context.Context) ([]corev1.ContainerImage, error)
}

// Check is a part of the agent without whose health the node is not ready.
type Check struct {
	// Name and Err make the message "<Name> is not healthy: <Err>".
	Name string
	Err  func() error
}

// Deps are the node's surroundings. Only Runtime, Machine and Log are required.
type Deps struct {
	// Client is nil when there is no API server: the runtime is still watched.
	Client kubernetes.Interface
	// LeaseClient is a client of its own that nothing can starve; nil means that
	// no lease is kept.
	LeaseClient kubernetes.Interface
	Runtime     Runtime
	Machine     Machine
	Images      Images
	Checks      []Check
	// Pressure reports what eviction sees; nil means none.
	Pressure func() Pressure
	// Event records an event about the node.
	Event func(eventtype, reason, message string)
	// Milestone, if set, hears of the steps on the way to a node that is ready, each
	// time they are taken.
	Milestone func(Milestone)
	// HeartbeatFailed is called when heartbeats fail repeatedly, so that stale
	// connections can be closed.
	HeartbeatFailed func()
	Log             *zap.Logger
}

func (d *Deps) validate() error {
	switch {
	case d.Runtime == nil:
		return errors.New("node: there is no runtime")
	case d.Machine == nil:
		return errors.New("node: there are no machine facts")
	case d.Log == nil:
		return errors.New("node: there is no logger")
	}
	return nil
}
