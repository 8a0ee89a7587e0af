package resize

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Cgroups changes the cgroup of a pod. p has the resources it is to have.
type Cgroups interface {
	// Compare says which way a limit of the pod's cgroup has to go: up is positive.
	Compare(p *corev1.Pod, part pod.Limit) (int, error)
	// Set gives the pod's cgroup a limit.
	Set(ctx context.Context, p *corev1.Pod, part pod.Limit) error
	// With is what the pod's cgroup has once one of its limits is set.
	With(p *corev1.Pod, part pod.Limit) (pod.CgroupLimits, error)
	// MemoryShort says by an error that the pod uses more memory than it is to have.
	MemoryShort(p *corev1.Pod) error
}

// Runtime changes containers.
type Runtime interface {
	// UpdateContainer gives a running container the resources of c.
	UpdateContainer(ctx context.Context, p *corev1.Pod, c *corev1.Container, id string) error
	// UpdateSandbox tells the runtime what the pod's cgroup is about to have. An error
	// means that it does not agree.
	UpdateSandbox(ctx context.Context, p *corev1.Pod, id string, limits pod.CgroupLimits) error
	// MemoryUsage is how much memory a container uses, in bytes.
	MemoryUsage(ctx context.Context, id string) (int64, error)
}

// Resizer resizes pods. It holds no state.
type Resizer struct {
	cgroups Cgroups
	runtime Runtime
}

// New returns a resizer.
func New(c Cgroups, r Runtime) *Resizer { return &Resizer{cgroups: c, runtime: r} }

// Resize does what req asks for and returns what the containers have afterwards.
// It stops at the first thing that cannot be done: what is left is to be asked for
// again.
func (r *Resizer) Resize(ctx context.Context, req pod.ResizeRequest) (pod.Actuation, error) {
	w := &work{Resizer: r, req: req, now: req.Actuated}
	if err := w.check(ctx); err != nil {
		return w.now, err
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceCPU} {
		if err := w.resource(ctx, name); err != nil {
			return w.now, err
		}
	}
	return w.now, nil
}

// work is one resize.
type work struct {
	*Resizer
	req pod.ResizeRequest
	now pod.Actuation
}

// check refuses to take memory away that is in use: the kernel would kill for it.
func (w *work) check(ctx context.Context) error {
	var failed []error
	if way, err := w.cgroups.Compare(w.req.Pod, pod.LimitMemory); err != nil {
		return err
	} else if way < 0 {
		failed = append(failed, w.cgroups.MemoryShort(w.req.Pod))
	}
	for _, c := range w.req.Containers {
		if limit := c.To.MemoryLimit; limit != 0 && (c.From.MemoryLimit == 0 || limit < c.From.MemoryLimit) {
			usage, err := w.runtime.MemoryUsage(ctx, c.ID)
			switch {
			case err != nil:
				failed = append(failed, fmt.Errorf("missing container %q memory usage: %w", c.Container.Name, err))
			case usage >= limit:
				failed = append(failed, fmt.Errorf("attempting to set container %q memory limit (%d) below current usage (%d)", c.Container.Name, limit, usage))
			}
		}
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("cannot decrease memory limits: %w", err)
	}
	return nil
}

// limits are the limits of a pod's cgroup that go with a resource, in the order in
// which they grow.
func limits(name corev1.ResourceName) []pod.Limit {
	if name == corev1.ResourceMemory {
		return []pod.Limit{pod.LimitMemory}
	}
	return []pod.Limit{pod.LimitCPUQuota, pod.LimitCPUShares}
}

// resource brings one resource of the pod and of its containers to what it is to be.
func (w *work) resource(ctx context.Context, name corev1.ResourceName) error {
	parts := limits(name)
	ways := make([]int, len(parts))
	for i, part := range parts {
		way, err := w.cgroups.Compare(w.req.Pod, part)
		if err != nil {
			return err
		}
		if ways[i] = way; way > 0 {
			if err := w.set(ctx, part); err != nil {
				return err
			}
		}
	}
	if err := w.containers(ctx, name); err != nil {
		return err
	}
	for i, part := range slices.Backward(parts) {
		if ways[i] < 0 {
			if err := w.set(ctx, part); err != nil {
				return err
			}
		}
	}
	if w.req.Pod.Spec.Resources != nil {
		whole := take(w.now.Whole(), *w.req.Pod.Spec.Resources, name)
		w.now.Pod = &whole
	}
	return nil
}

// set gives the pod's cgroup one of its limits, if the runtime agrees.
func (w *work) set(ctx context.Context, part pod.Limit) error {
	limits, err := w.cgroups.With(w.req.Pod, part)
	if err != nil {
		return err
	}
	if err := w.runtime.UpdateSandbox(ctx, w.req.Pod, w.req.SandboxID, limits); err != nil {
		return fmt.Errorf("failed to notify runtime for UpdatePodSandboxResources; resize rejected: %w", err)
	}
	return w.cgroups.Set(ctx, w.req.Pod, part)
}

// containers gives the containers one resource, those that give some of it back
// first.
func (w *work) containers(ctx context.Context, name corev1.ResourceName) error {
	list := slices.DeleteFunc(slices.Clone(w.req.Containers), func(c pod.ContainerResize) bool { return change(c, name) == 0 })
	slices.SortStableFunc(list, func(a, b pod.ContainerResize) int { return change(a, name) - change(b, name) })
	for _, c := range list {
		given := w.now.Containers[c.Container.Name]
		next := take(given, c.Container.Resources, name)
		resized := *c.Container
		resized.Resources = next
		if err := w.runtime.UpdateContainer(ctx, w.req.Pod, &resized, c.ID); err != nil {
			w.now = w.now.Doubting(c) // its reply may be lost
			return fmt.Errorf("resize container %s: %w", c.Container.Name, err)
		}
		w.now = w.now.With(c.Container.Name, next)
	}
	return nil
}

// change is negative when the container gives some of the resource back, zero when
// it keeps what it has. Limits count before requests.
func change(c pod.ContainerResize, name corev1.ResourceName) int {
	from, to := [2]int64{c.From.CPULimit, c.From.CPURequest}, [2]int64{c.To.CPULimit, c.To.CPURequest}
	if name == corev1.ResourceMemory {
		from, to = [2]int64{c.From.MemoryLimit, c.From.MemoryRequest}, [2]int64{c.To.MemoryLimit, c.To.MemoryRequest}
	}
	for i := range from {
		if from[i] < to[i] {
			return 1
		}
		if from[i] > to[i] {
			return -1
		}
	}
	return 0
}

// take is what a container was given, with one resource as it is to be.
func take(given, want corev1.ResourceRequirements, name corev1.ResourceName) corev1.ResourceRequirements {
	given = *given.DeepCopy()
	replace := func(list, by corev1.ResourceList) corev1.ResourceList {
		q, ok := by[name]
		switch {
		case !ok:
			delete(list, name)
		case list == nil:
			list = corev1.ResourceList{name: q}
		default:
			list[name] = q
		}
		return list
	}
	given.Requests, given.Limits = replace(given.Requests, want.Requests), replace(given.Limits, want.Limits)
	return given
}
