package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Image is an image that is present on the node and may be used by a container.
type Image struct {
	// Name is the reference as the spec has it, normalised (":latest" added).
	Name string
	// Ref is what the runtime wants in a ContainerConfig: an image ID or digest.
	Ref string
	// UserSpecified is the reference exactly as the spec has it.
	UserSpecified string
}

// Volumes maps a volume's name to where it is set up on the node. nil means
// that the volumes are not (known to be) set up.
type Volumes map[string]Volume

// Volume is one volume, set up.
type Volume struct {
	HostPath string
	ReadOnly bool
	// SELinux asks the runtime to relabel the content.
	SELinux bool
	// Persistent is the name of the PersistentVolume behind the pod's claim; empty: the
	// volume is none.
	Persistent string
	// Group is one that all containers of the pod are in because of the volume; 0:
	// none.
	Group int64
}

// Grant is what the node gives to a pod beside what its spec says.
type Grant struct {
	// CgroupParent is where the sandbox and its containers live, as CRI wants
	// it: a path with cgroupfs, a slice with systemd. Empty: the runtime's own.
	CgroupParent string
	// RuntimeHandler is the runtime's name for the pod's RuntimeClass; empty: its
	// default.
	RuntimeHandler string
	// UserIDs are the pod's own; nil: it has the node's.
	UserIDs *IDRange
}

// IDRange are the IDs First to First+Length-1 of the node, users and groups alike,
// which are 0 to Length-1 in a pod.
type IDRange struct{ First, Length uint32 }

// Node is what decisions may know of the node.
type Node struct {
	// Name of the Node object.
	Name string
	// HostIPs are the node's addresses, primary first.
	HostIPs []string
	// RuntimeName prefixes container IDs ("containerd"), as the runtime reports it.
	RuntimeName string
	// NetworkProblem is why pods that need the pod network cannot start; empty
	// when the runtime's network is ready.
	NetworkProblem string
	// RecursiveReadOnly says that the runtime can mount read-only what lies below
	// a read-only mount, too.
	RecursiveReadOnly bool
	// MaxBackoff caps the crash loop (crashLoopBackOff.maxContainerRestartPeriod).
	MaxBackoff time.Duration
}

// Input is everything a decision about a pod depends on. Two equal inputs lead
// to equal plans and equal statuses.
type Input struct {
	Now time.Time
	Ref Ref
	// Spec is the wanted pod; its Pod is nil when only the runtime or the disk knows
	// it.
	Spec
	// Stop is set once the pod has to end.
	Stop *Stop
	// Observed is the last thing the runtime showed.
	Observed Observation
	// Running holds the operations in flight, Attempts what failed last.
	Running  map[Target]Operation
	Attempts map[Work]Attempt
	// Instances holds what the agent itself knows of container instances, by ID.
	Instances map[string]Instance
	Sizing
	// EndBy is when the processes of a pod whose work is done must have ended;
	// zero until that was decided.
	EndBy time.Time
	// Hashes holds, per container of the spec, its hash as the runtime's
	// annotation has it.
	Hashes map[string]string
	// Images holds, by [ImageUse] key, the images ready for the next start of who
	// uses them.
	Images map[string]Image
	// Volumes are the volumes set up; nil when they are not.
	Volumes Volumes
	// Removed says that what lies on the node beside the runtime (volumes,
	// cgroup, directories) has been taken away for good.
	Removed Removed
	// Prior is the status last published, or the API's after a restart.
	Prior corev1.PodStatus
	Node  Node
}

// Removed lists what a teardown has finished removing.
type Removed struct {
	Volumes bool
	Cgroup  bool
	Logs    bool
}

// Busy reports whether an operation runs on the target.
func (in *Input) Busy(t Target) bool {
	_, busy := in.Running[t]
	return busy
}

// HostNetwork reports whether the pod lives in the node's network.
func (in *Input) HostNetwork() bool { return in.Pod != nil && in.Pod.Spec.HostNetwork }

// Wait is one thing a pod waits for.
type Wait struct {
	// What is a sentence without a full stop: "image registry/x: pull backed off".
	What string
	// Since is when the waiting began, zero when that is not known; Next is when
	// the agent will look or try again, zero when an event decides.
	Since time.Time
	Next  time.Time
}

// Entry is one line of a pod's timeline.
type Entry struct {
	At   time.Time
	Text string
}

// View is what readers may see of a pod: a snapshot that nobody changes.
type View struct {
	Ref    Ref
	Pod    *corev1.Pod
	Source SourceName
	Status corev1.PodStatus
	// Stage is Syncing, Terminating or Terminated.
	Stage    string
	Waits    []Wait
	Timeline []Entry
	// Phases are the start-up phases in order of their end.
	Phases []Phase
	// Sandbox is the ID of the newest sandbox, empty without one.
	Sandbox string
	// Superseded is closed when there is a newer view, or none any more.
	Superseded <-chan struct{}
}

// Phase is one step of a pod's start and how long it took.
type Phase struct {
	Name string
	Took time.Duration
}
