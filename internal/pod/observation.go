package pod

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Observation is what the runtime showed of one pod at one moment.
type Observation struct {
	// At is when the runtime was asked; zero means it never answered.
	At time.Time
	// Sandboxes and Containers are sorted newest first (see [Observation.Sort]).
	Sandboxes  []Sandbox
	Containers []Container
}

// Sandbox is a pod sandbox of the runtime.
type Sandbox struct {
	ID        string
	Attempt   uint32
	Ready     bool
	CreatedAt time.Time
	// IPs is what the runtime reports, primary first; empty with HostNetwork.
	IPs         []string
	HostNetwork bool
}

// ContainerState is the runtime's word for what a container does.
type ContainerState int

// The states of a container, as CRI knows them.
const (
	ContainerUnknown ContainerState = iota
	ContainerCreated
	// ContainerAborted never ran: whoever asked for its start was gone before the
	// runtime had started it. It is of no use and counts as no run.
	ContainerAborted
	ContainerRunning
	ContainerExited
)

// String names the state for logs and tables.
func (s ContainerState) String() string {
	switch s {
	case ContainerCreated:
		return "created"
	case ContainerAborted:
		return "aborted"
	case ContainerRunning:
		return "running"
	case ContainerExited:
		return "exited"
	case ContainerUnknown:
	}
	return "unknown"
}

// Container is one container instance of the runtime. A container of the pod's
// spec has one instance for each time it was started.
type Container struct {
	ID        string
	Name      string
	SandboxID string
	// Attempt counts the instances of this name from 0; it is the restart count.
	Attempt    int
	State      ContainerState
	CreatedAt  time.Time
	StartedAt  time.Time
	FinishedAt time.Time
	ExitCode   int32
	Reason     string
	Message    string
	// Image is the reference the container was made from, ImageID what the
	// runtime resolved it to.
	Image   string
	ImageID string
	// Hash is the annotation io.kubernetes.container.hash: a change of it in the
	// spec means the container has to be replaced.
	Hash string
	// User is who the first process runs as; nil when the runtime does not say.
	User *corev1.ContainerUser
	// CrashCount is how many restarts in a row led to this instance without a
	// run long enough to be forgiven; -1 when the instance does not say (one
	// that a kubelet started).
	CrashCount int
	// PreStop is the handler to be run before the container is stopped, as it was
	// when the container was made: for pods whose spec is lost. Ports are numbers
	// in it. Nil when there is none. It is not to be changed.
	PreStop *corev1.LifecycleHandler
}

// Live reports whether the container has, or may have, a process.
func (c *Container) Live() bool {
	return c.State == ContainerRunning || c.State == ContainerUnknown
}

// Sort puts the newest instance first: by attempt, then by creation time, then
// by ID so that equal observations are equal values.
func (o *Observation) Sort() {
	slices.SortFunc(o.Sandboxes, func(a, b Sandbox) int {
		return cmp.Or(cmp.Compare(b.Attempt, a.Attempt), b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(o.Containers, func(a, b Container) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(b.Attempt, a.Attempt),
			b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
}

// Latest returns the newest instance of a container name, or nil.
func (o *Observation) Latest(name string) *Container {
	for i := range o.Containers {
		if o.Containers[i].Name == name {
			return &o.Containers[i]
		}
	}
	return nil
}

// Previous returns the newest instance before the given one that has exited,
// or nil.
func (o *Observation) Previous(c *Container) *Container {
	for i := range o.Containers {
		d := &o.Containers[i]
		if d.Name == c.Name && d.ID != c.ID && d.Attempt <= c.Attempt && d.State == ContainerExited {
			return d
		}
	}
	return nil
}

// ReadySandboxes returns the sandboxes that are up.
func (o *Observation) ReadySandboxes() []Sandbox {
	var up []Sandbox
	for _, s := range o.Sandboxes {
		if s.Ready {
			up = append(up, s)
		}
	}
	return up
}

// AnyLive reports whether any container has, or may have, a process.
func (o *Observation) AnyLive() bool {
	return slices.ContainsFunc(o.Containers, func(c Container) bool { return c.Live() })
}
