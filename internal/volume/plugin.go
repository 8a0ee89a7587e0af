package volume

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Plugin is one type of volume. All its calls are idempotent, may run for many
// volumes at once, and should return when their context ends.
//
// What only some types can do becomes an optional interface found by assertion,
// so that this one stays small: [Live] and [Checked] today, attach and stage for
// drivers.
type Plugin interface {
	// Name is the type's qualified name, "kubernetes.io/empty-dir". It is part of
	// paths on the disk and must never change.
	Name() string
	// Supports reports whether the volume is of this type.
	Supports(Spec) bool
	// Mount sets the volume up and says where it is. The directory above
	// Request.Ref.Dir may not exist yet; see [Ref.Make].
	Mount(context.Context, Request) (pod.Volume, error)
	// Unmount takes away what Mount made. The Ref was read from the disk: there
	// may be no spec any more. A volume that is already gone is a success.
	Unmount(context.Context, Ref) error
}

// Live is a type whose content follows what it is made of: objects of the API
// server, the pod's own fields, time. Mount makes its place, Update the content.
type Live interface {
	Plugin
	// Update makes the content of a mounted volume what it is to be now, and
	// touches nothing that is so already. It is called after each Mount, whenever
	// an object that the pod refers to or the pod itself has changed, and at due,
	// if that is not zero. What fails is tried again with growing pauses; the old
	// content stays until then.
	Update(context.Context, Request) (due time.Time, err error)
}

// Checked is a type whose place is not the agent's: others may put something else
// there while the pod runs.
type Checked interface {
	Plugin
	// Check fails if what is there now is not what the pod asks for. It is called
	// before each start of a container, and changes nothing.
	Check(Spec) error
}

// Spec is one volume of a pod, as its type sees it.
type Spec struct {
	// Volume is what the pod says.
	Volume *corev1.Volume
	// Persistent is what the pod's claim is bound to; nil when it names no claim.
	Persistent *corev1.PersistentVolume
	// ReadOnly: the claim's source in the pod says so.
	ReadOnly bool
}

// Name is that of the volume's directory.
func (s Spec) Name() string {
	if s.Persistent != nil {
		return s.Persistent.Name
	}
	return s.Volume.Name
}

// Request asks for one volume of one pod.
type Request struct {
	Pod *corev1.Pod
	Spec
	Ref Ref
	// Tell tells users about the pod; it is never nil.
	Tell func(warning bool, reason, message string)
}

// Claims finds what the claims of pods are bound to.
type Claims interface {
	// Find returns the PersistentVolume behind a volume of the pod that names a
	// claim, or has one made for it (ephemeral). The errors are the kubelet's words.
	Find(ctx context.Context, p *corev1.Pod, v *corev1.Volume) (*corev1.PersistentVolume, error)
}

// Events tells users about pods.
type Events interface {
	Event(p *corev1.Pod, container string, warning bool, reason, message string)
}
