package volume

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Plugin is one type of volume. All its calls are idempotent, may run for many
// volumes at once, and should return when their context ends.
//
// What only some types can do (attach, stage, expand, ...) becomes an optional
// interface found by assertion, so that this one stays small.
type Plugin interface {
	// Name is the type's qualified name, "kubernetes.io/empty-dir". It is part of
	// paths on the disk and must never change.
	Name() string
	// Supports reports whether the volume is of this type.
	Supports(*corev1.Volume) bool
	// Mount sets the volume up and says where it is. The directory above
	// Request.Ref.Dir may not exist yet; see [Ref.Make].
	Mount(context.Context, Request) (pod.Volume, error)
	// Unmount takes away what Mount made. The Ref was read from the disk: there
	// may be no spec any more. A volume that is already gone is a success.
	Unmount(context.Context, Ref) error
}

// Request asks for one volume of one pod.
type Request struct {
	Pod    *corev1.Pod
	Volume *corev1.Volume
	Ref    Ref
}
