package lifecycle

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// Every verb of every port is idempotent: what is already so is success.

// Observer asks the runtime about one pod.
type Observer interface {
	Observe(ctx context.Context, ref pod.Ref) (pod.Observation, error)
	// Ended returns a container as the runtime's event of its end shows it; ok is false
	// when none did since the pod was looked at.
	Ended(uid types.UID, id string) (ended pod.Container, ok bool)
	// Forget drops what is cached of the pod.
	Forget(uid types.UID)
}

// Sandboxes makes and ends pod sandboxes.
type Sandboxes interface {
	CreateSandbox(ctx context.Context, req pod.SandboxRequest) (id string, err error)
	StopSandbox(ctx context.Context, id string) error
	RemoveSandbox(ctx context.Context, id string) error
}

// Containers makes and ends container instances.
type Containers interface {
	CreateContainer(ctx context.Context, req pod.ContainerRequest) (id string, err error)
	StartContainer(ctx context.Context, id string) error
	StopContainer(ctx context.Context, id string, grace time.Duration) error
	RemoveContainer(ctx context.Context, id string) error
}

// Handlers runs lifecycle handlers: postStart and preStop hooks.
type Handlers interface {
	Run(ctx context.Context, t pod.HookTarget) error
}

// Probes runs the probes of containers and keeps what they come to.
type Probes interface {
	// Watch replaces the probes of the pod; with none it is forgotten.
	Watch(p *corev1.Pod, targets []pod.ProbeTarget)
	// Verdicts returns what the probes of the pod have come to, where they have.
	Verdicts(uid types.UID) map[pod.ProbeKey]pod.Verdict
}

// Givens gives containers what they get beside what their spec says.
type Givens interface {
	// Give completes a request whose pod, container and sandbox are set: where the
	// variables come from, the hosts file, the file for a last message. podIPs are
	// the sandbox's addresses, primary first.
	Give(ctx context.Context, req *pod.ContainerRequest, podIPs []string) error
	// Forget drops what is kept for the pod.
	Forget(uid types.UID)
}

// Images makes images present on the node.
type Images interface {
	Ensure(ctx context.Context, req pod.ImageRequest) (pod.ImageResult, error)
}

// Volumes sets up and takes down a pod's volumes and its directory.
type Volumes interface {
	Mount(ctx context.Context, p *corev1.Pod) (pod.Volumes, error)
	// Follow says what a pod, whose volumes are mounted, has become: their content
	// may have to follow. It does not wait for that.
	Follow(p *corev1.Pod)
	Unmount(ctx context.Context, ref pod.Ref) error
}

// Cgroups makes and removes the pod's cgroup.
type Cgroups interface {
	Ensure(ctx context.Context, p *corev1.Pod) (pod.Grant, error)
	Remove(ctx context.Context, ref pod.Ref) error
}

// Allocations decides what the node takes and which resources it gives, and keeps
// what it gave. Only the supervisor asks for decisions.
type Allocations interface {
	// Admit decides about a pod the node does not run yet, beside the others.
	Admit(spec pod.Spec, others []*corev1.Pod) pod.Admission
	// Resize decides about newer resources of one that it runs; old is what became
	// of them when it was asked last. The others are asked for if need be: most news
	// of a pod are not of its resources.
	Resize(spec pod.Spec, old pod.Resize, others func() []*corev1.Pod) pod.Admission
	// Actuated is what the pod's containers were given last.
	Actuated(uid types.UID) pod.Actuation
	// SetActuated notes what they are given; with now it is on the disk when it
	// returns.
	SetActuated(uid types.UID, a pod.Actuation, now bool)
	// Forget drops what is kept of a pod that is gone; Retain that of all pods which
	// keep does not know.
	Forget(uid types.UID)
	Retain(keep func(types.UID) bool)
}

// Resizer gives what runs the resources it has been allocated.
type Resizer interface {
	// Resize returns what the containers have afterwards, also when it fails.
	Resize(ctx context.Context, req pod.ResizeRequest) (pod.Actuation, error)
}

// Logs keeps the pod's log files where log shippers expect them.
type Logs interface {
	EnsureDir(ref pod.Ref, container string) error
	Link(ref pod.Ref, container, id string, attempt int) error
	RemoveContainer(ref pod.Ref, container, id string, attempt int) error
	RemovePod(ref pod.Ref) error
}

// StatusSink takes statuses to the API server, the newest last.
type StatusSink interface {
	// Publish hands over the pod's status. finished says that nothing of the pod is
	// left on this node but dead things in the runtime, so that its object may go.
	Publish(p *corev1.Pod, status corev1.PodStatus, finished bool)
	// Forget drops what is still to be sent: the object is gone.
	Forget(uid types.UID)
}

// Recorder tells users what happened. container is empty for the pod itself.
type Recorder interface {
	Event(p *corev1.Pod, container string, warning bool, reason, message string)
}

// Hooks are told what is counted; any of them may be nil. Every goroutine calls
// them, and none waits for them long.
type Hooks struct {
	// Launched: a pod gets a worker. p is nil for one that is on the node and that
	// nobody wants; refused is why the node does not take it, empty if it does.
	Launched func(p *corev1.Pod, refused string)
	// Preempted: a pod goes to make room for another, which is short of a resource.
	Preempted func(short corev1.ResourceName)
	// Operation ends: what was done for which pod (nil as above), how long it took,
	// and its error.
	Operation func(p *corev1.Pod, a plan.Action, took time.Duration, err error)
	// Reported: what is told of a pod, what was told before, and when its worker saw
	// it first. They are read at once and not kept.
	Reported func(of pod.Spec, before, now *corev1.PodStatus, seen time.Time)
	// Retired: a worker has ended, and nothing follows of its pod.
	Retired func(uid types.UID)
	// Ready is called once per pod with the time from first sight to Ready.
	Ready func(p *corev1.Pod, took time.Duration)
	// Panic counts a worker that had to be started anew.
	Panic func()
	// Viewed is called when there is another view of a pod, or none any more. It
	// must not wait.
	Viewed func(uid types.UID)
}
