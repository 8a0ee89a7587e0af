package plan

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// resize gives the pod and its containers the resources they have been allocated
// since they were started (KEP-1287). Containers that have to be restarted for it
// are left to [retire], those that come to their end to their successors.
func resize(in *pod.Input, p *Plan, sb *pod.Sandbox) {
	list := slices.DeleteFunc(in.Resizes(), func(r pod.ContainerResize) bool {
		return r.Restarts() || !in.Instances[r.ID].StopBy.IsZero()
	})
	if len(list) > 0 || in.ResizesWhole() {
		p.do(in, Resize{Containers: list, SandboxID: sb.ID}, "what runs has other resources than it is allocated")
	}
}

// restartsToResize reports whether a container has to be replaced by an instance
// with other resources.
func restartsToResize(in *pod.Input, k pod.Kind, c *corev1.Container) bool {
	r, resized := in.ResizeOf(k, c)
	return resized && r.Restarts()
}
