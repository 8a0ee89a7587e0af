package pod

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
)

// Kind is the part a container of the spec plays in its pod.
type Kind int

// The kinds of containers.
const (
	// KindRegular containers are what the pod is for.
	KindRegular Kind = iota
	// KindInit containers run to their end, one after the other, before the next
	// container is started.
	KindInit
	// KindSidecar containers are init containers with restartPolicy Always: they
	// are started in their place and run for as long as the pod does (KEP-753).
	KindSidecar
	// KindEphemeral containers were added to a running pod; they are started
	// once and nothing waits for them (KEP-277).
	KindEphemeral
)

// Field is the list of the pod's spec that the container is in.
func (k Kind) Field() string {
	switch k {
	case KindInit, KindSidecar:
		return "initContainers"
	case KindEphemeral:
		return "ephemeralContainers"
	case KindRegular:
	}
	return "containers"
}

// Containers yields every container of the spec in the order in which they are
// started: init containers and sidecars, regular ones, ephemeral ones.
func Containers(p *corev1.Pod) iter.Seq2[Kind, *corev1.Container] {
	return func(yield func(Kind, *corev1.Container) bool) {
		for i := range p.Spec.InitContainers {
			c := &p.Spec.InitContainers[i]
			if !yield(InitKind(c), c) {
				return
			}
		}
		for i := range p.Spec.Containers {
			if !yield(KindRegular, &p.Spec.Containers[i]) {
				return
			}
		}
		for i := range p.Spec.EphemeralContainers {
			// The API keeps the two types field for field the same for this.
			if !yield(KindEphemeral, (*corev1.Container)(&p.Spec.EphemeralContainers[i].EphemeralContainerCommon)) {
				return
			}
		}
	}
}

// Find returns the named container of the spec and its kind, or nil.
func Find(p *corev1.Pod, name string) (*corev1.Container, Kind) {
	if p != nil {
		for k, c := range Containers(p) {
			if c.Name == name {
				return c, k
			}
		}
	}
	return nil, KindRegular
}

// InitKind tells a sidecar from an init container that ends.
func InitKind(c *corev1.Container) Kind {
	if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
		return KindSidecar
	}
	return KindInit
}
