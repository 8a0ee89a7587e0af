package pod

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Admission is what the node says of a pod, or of new resources for one it has
// (KEP-1287).
type Admission struct {
	// Pod is the pod with the resources it has been allocated, which lag behind
	// those of its spec while a resize is pending. nil: the node does not take it.
	Pod *corev1.Pod
	// Reason and Message say why the node does not take the pod, as they go to its
	// status, Event is what users are told at once. All are empty if it does.
	Reason, Message, Event string
	// Preempt are pods that have to go before this one, which is critical, can come.
	Preempt []*corev1.Pod
	// Short is the resource for which they have to go.
	Short corev1.ResourceName
	// Later says that it cannot be decided yet.
	Later bool
	// Resize is what became of the resources the spec asks for.
	Resize Resize
}

// Resize is what became of the resources that a running pod's spec asks for.
type Resize struct {
	// Pending says why they are not allocated; nil when they are.
	Pending *PendingResize
	// Generation is that of the spec whose resources were allocated last while the
	// pod was on the node; 0: never since it was admitted.
	Generation int64
}

// PendingResize is a resize that is not allocated.
type PendingResize struct {
	// Reason is Deferred or Infeasible.
	Reason, Message string
	// Generation is that of the spec that was looked at.
	Generation int64
}

// Actuation is what resources the containers of a pod were last given, which lags
// behind their allocation while a resize is in progress.
type Actuation struct {
	// Containers by name; one that is missing has what it was allocated.
	Containers map[string]corev1.ResourceRequirements
	// Pod is what the pod as a whole was given; nil if its spec says nothing.
	Pod *corev1.ResourceRequirements
}

// Whole is what the pod as a whole was given.
func (a Actuation) Whole() corev1.ResourceRequirements {
	if a.Pod == nil {
		return corev1.ResourceRequirements{}
	}
	return *a.Pod
}

// With returns the actuation with a container's resources replaced.
func (a Actuation) With(container string, r corev1.ResourceRequirements) Actuation {
	a.Containers = maps.Clone(a.Containers)
	if a.Containers == nil {
		a.Containers = map[string]corev1.ResourceRequirements{}
	}
	a.Containers[container] = r
	return a
}

// Doubting returns the actuation without what is about to change, or may have: who
// reads it has to set that again, whatever is to be set by then. Its requests are
// negative, which nobody can ask for; "none" can be asked for.
func (a Actuation) Doubting(list ...ContainerResize) Actuation {
	for _, r := range list {
		given := a.Containers[r.Container.Name]
		given = *given.DeepCopy()
		for name, changed := range r.changes() {
			if !changed {
				continue
			}
			delete(given.Limits, name)
			if given.Requests == nil {
				given.Requests = corev1.ResourceList{}
			}
			given.Requests[name] = *resource.NewQuantity(-1, resource.DecimalSI)
		}
		a = a.With(r.Container.Name, given)
	}
	return a
}

// Sizing is what is known of a pod's resources beside its spec.
type Sizing struct {
	// Resize is what became of the resources the spec asks for, Actuated what the
	// containers were last given.
	Resize   Resize
	Actuated Actuation
}

// Sizes are the resources that can change while a container runs: CPU in
// thousandths, memory in bytes; zero is none.
type Sizes struct {
	CPURequest, CPULimit       int64
	MemoryRequest, MemoryLimit int64
}

// SizesOf are the sizes of a container in a pod with these resources of its own,
// whose limits stand in for those that the container does not have.
func SizesOf(whole *corev1.ResourceRequirements, r *corev1.ResourceRequirements) Sizes {
	s := Sizes{
		CPURequest: r.Requests.Cpu().MilliValue(), CPULimit: r.Limits.Cpu().MilliValue(),
		MemoryRequest: r.Requests.Memory().Value(), MemoryLimit: r.Limits.Memory().Value(),
	}
	if whole != nil {
		if _, own := r.Limits[corev1.ResourceCPU]; !own {
			s.CPULimit = whole.Limits.Cpu().MilliValue()
		}
		if _, own := r.Limits[corev1.ResourceMemory]; !own {
			s.MemoryLimit = whole.Limits.Memory().Value()
		}
	}
	return s
}

// ContainerResize is one running container that is to have other resources.
type ContainerResize struct {
	ID        string
	Kind      Kind
	Container *corev1.Container
	From, To  Sizes
}

// ResizeRequest asks for other resources of what runs of a pod.
type ResizeRequest struct {
	// Pod has the resources it has been allocated.
	Pod        *corev1.Pod
	SandboxID  string
	Containers []ContainerResize
	// Actuated is what the containers have.
	Actuated Actuation
}

// Resizes lists the running containers whose resources are not those they have
// been allocated.
func (in *Input) Resizes() []ContainerResize {
	var list []ContainerResize
	for k, c := range Containers(in.Pod) {
		if r, ok := in.ResizeOf(k, c); ok {
			list = append(list, r)
		}
	}
	return list
}

// ResizeOf is what one container's resources have to become; false if it has what
// it has been allocated, or does not run.
func (in *Input) ResizeOf(k Kind, c *corev1.Container) (ContainerResize, bool) {
	i := in.Latest(c.Name)
	given, known := in.Actuated.Containers[c.Name]
	if k == KindEphemeral || i == nil || i.State != ContainerRunning || !known {
		return ContainerResize{}, false
	}
	from, to := SizesOf(in.Actuated.Pod, &given), SizesOf(in.Pod.Spec.Resources, &c.Resources)
	return ContainerResize{ID: i.ID, Kind: k, Container: c, From: from, To: to}, from != to
}

// ResizesWhole reports whether the pod as a whole is to have other resources than
// it was given.
func (in *Input) ResizesWhole() bool {
	if in.Pod.Spec.Resources == nil || in.Actuated.Pod == nil && len(in.Actuated.Containers) == 0 {
		return false // nothing is known of what it was given
	}
	given := in.Actuated.Whole()
	return SizesOf(nil, &given) != SizesOf(nil, in.Pod.Spec.Resources)
}

// CgroupLimits are the limits of a pod's cgroup, overhead included: µs, bytes and
// shares. Zero is one that the cgroup was not given, -1 one without end.
type CgroupLimits struct {
	CPUShares, CPUQuota, CPUPeriod, Memory int64
	Unified                                map[string]string
}

// changes says which resources are to change.
func (r ContainerResize) changes() map[corev1.ResourceName]bool {
	return map[corev1.ResourceName]bool{
		corev1.ResourceCPU:    r.From.CPURequest != r.To.CPURequest || r.From.CPULimit != r.To.CPULimit,
		corev1.ResourceMemory: r.From.MemoryRequest != r.To.MemoryRequest || r.From.MemoryLimit != r.To.MemoryLimit,
	}
}

// Limit is one limit of a pod's cgroup that a resize may change.
type Limit int

// The limits of a pod's cgroup that a resize may change.
const (
	LimitMemory Limit = iota
	LimitCPUQuota
	LimitCPUShares
)

// Restarts reports whether the container has to be started anew to be resized, as
// its resizePolicy says.
func (r ContainerResize) Restarts() bool {
	changed := r.changes()
	if r.Kind == KindInit {
		return false // it would not be started again
	}
	for _, policy := range r.Container.ResizePolicy {
		if changed[policy.ResourceName] && policy.RestartPolicy == corev1.RestartContainer {
			return true
		}
	}
	return false
}
