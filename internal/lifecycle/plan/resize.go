package plan

import (
	"slices"

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

// restartsToResize reports whether an instance has to be replaced by one with
// other resources.
func restartsToResize(in *pod.Input, i *pod.Container) bool {
	return slices.ContainsFunc(in.Resizes(), func(r pod.ContainerResize) bool { return r.ID == i.ID && r.Restarts() })
}
