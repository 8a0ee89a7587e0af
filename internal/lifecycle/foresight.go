package lifecycle

import (
	"slices"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// foreseen reports whether a hint tells of something that is known, or will be asked
// for when an operation ends that has brought it about.
func (s *state) foreseen(h pod.Hint) bool {
	switch h.What {
	case pod.Made:
		return s.making() || !s.stale && !h.At.After(s.looked)
	case pod.Ended:
		return s.ending(h.ID) || s.showsEnded(h.ID)
	case pod.Vanished:
		return s.removing()
	case pod.Anything:
	}
	return false
}

// doing reports whether an action goes on that is as asked for.
func (s *state) doing(is func(plan.Action) bool) bool {
	for _, op := range s.ops {
		if is(op.action) {
			return true
		}
	}
	return false
}

// making reports whether an operation makes something that nobody wants to see before
// it ends. While a postStart hook runs others may want the container.
func (s *state) making() bool {
	return s.doing(func(a plan.Action) bool {
		switch a := a.(type) {
		case plan.CreateSandbox:
			return true
		case plan.StartContainer:
			return a.Container.Lifecycle == nil || a.Container.Lifecycle.PostStart == nil
		default:
			return false
		}
	})
}

// ending reports whether a container is being stopped, which takes no longer than it
// runs. Stopping a sandbox does: when it has ended its network is still there.
func (s *state) ending(id string) bool {
	return s.doing(func(a plan.Action) bool {
		stop, ok := a.(plan.StopContainer)
		return ok && stop.ID == id
	})
}

// removing reports whether something is being removed.
func (s *state) removing() bool {
	return s.doing(func(a plan.Action) bool {
		switch a.(type) {
		case plan.RemoveSandbox, plan.RemoveContainer:
			return true
		default:
			return false
		}
	})
}

// showsEnded reports whether the last look showed that a container or a sandbox has
// ended, which it does once.
func (s *state) showsEnded(id string) bool {
	return !s.stale && (slices.ContainsFunc(s.observed.Containers, func(c pod.Container) bool {
		return c.ID == id && c.State == pod.ContainerExited
	}) || slices.ContainsFunc(s.observed.Sandboxes, func(o pod.Sandbox) bool { return o.ID == id && !o.Ready }))
}

// heed takes in that somebody says that the pod has changed.
func (s *state) heed(h pod.Hint) {
	if s.foreseen(h) {
		return
	}
	s.note("hint: " + h.Why)
	if h.What == pod.Ended && !s.stale {
		s.ended = h.ID
	}
	s.stale = true
}
