package lifecycle

import (
	"cmp"
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/admission"
	"nodeagent.dev/nodeagent/internal/pod"
)

// admitAgain is how often pods that wait for others to go, or for a node that is
// not known yet, are looked at when nothing happens.
const admitAgain = time.Second

// admit decides about pods that are not on the node yet, the oldest first, and
// launches those that are decided on. One that the node does not take gets a
// worker too: it tells so, and takes away what an earlier agent may have started.
func (s *Supervisor) admit(ctx context.Context, fresh []pod.Spec, now time.Time) {
	slices.SortStableFunc(fresh, func(a, b pod.Spec) int {
		return a.Pod.CreationTimestamp.Compare(b.Pod.CreationTimestamp.Time)
	})
	for _, spec := range fresh {
		a := assignment{asked: spec, spec: spec, stop: deletion(spec.Pod, now, true)}
		if a.stop == nil && !pod.Terminal(spec.Pod.Status.Phase) {
			said := s.deps.Allocations.Admit(spec, s.others(spec.Pod))
			switch {
			case said.Later:
				s.undecided = true
				s.preempt(said.Preempt, said.Short, now)
				continue
			case said.Pod == nil:
				a.stop = &pod.Stop{Reason: said.Reason, Message: said.Message, Event: said.Event, Refused: true,
					Phase: corev1.PodFailed, Deadline: now.Add(pod.Grace(spec.Pod))}
			case said.Pod != spec.Pod: // an earlier agent put its resize off
				said = s.resize(spec, pod.Resize{})
				a.spec.Pod, a.resize = said.Pod, said.Resize
			}
		}
		s.launch(ctx, pod.RefOf(spec.Pod), a)
	}
}

// preempt ends pods to make room for one that is short of a resource.
func (s *Supervisor) preempt(victims []*corev1.Pod, short corev1.ResourceName, now time.Time) {
	for _, p := range victims {
		e := s.workers[p.UID]
		if e == nil || e.stop != nil {
			continue
		}
		e.stop = e.stop.Merge(&pod.Stop{Reason: admission.PreemptReason, Message: admission.PreemptMessage,
			Event: admission.PreemptMessage, Disruption: admission.PreemptDisruptionMessage, Phase: corev1.PodFailed, Deadline: now.Add(pod.Grace(p))})
		e.assign(assignment{spec: e.spec, resize: e.resize, stop: e.stop, gone: e.gone})
		if h := s.deps.Hooks.Preempted; h != nil {
			h(short)
		}
	}
}

// others lists the pods, with the resources they have been allocated, that have
// something on the node beside this one.
func (s *Supervisor) others(than *corev1.Pod) []*corev1.Pod {
	list := make([]*corev1.Pod, 0, len(s.workers))
	for uid, e := range s.workers {
		if uid == than.UID || e.spec.Pod == nil || e.refused {
			continue
		}
		status := &e.spec.Pod.Status
		if v := e.view.Load(); v != nil {
			status = &v.Status
		}
		if !pod.Terminal(status.Phase) {
			list = append(list, e.spec.Pod)
		}
	}
	return list
}

// update takes over what the source says of a pod that is on the node.
func (s *Supervisor) update(e *entry, spec pod.Spec) {
	e.asked, e.spec = spec, spec
	said := s.resize(spec, e.resize)
	e.spec.Pod, e.resize = said.Pod, said.Resize
}

// resize decides about a pod's newer resources, beside the others if need be.
func (s *Supervisor) resize(spec pod.Spec, old pod.Resize) pod.Admission {
	return s.deps.Allocations.Resize(spec, old, func() []*corev1.Pod { return s.others(spec.Pod) })
}

// retryResizes looks again at resizes that were put off: what asks for no more than
// it has first, then by priority, class and age.
func (s *Supervisor) retryResizes() {
	var deferred []*entry
	for _, e := range s.workers {
		if e.resize.Pending != nil && e.resize.Pending.Reason == corev1.PodReasonDeferred && e.stop == nil {
			deferred = append(deferred, e)
		}
	}
	slices.SortFunc(deferred, func(a, b *entry) int {
		p, q := a.asked.Pod, b.asked.Pod
		return cmp.Or(-cmp.Compare(priority(p), priority(q)), cmp.Compare(rank(p), rank(q)), p.CreationTimestamp.Compare(q.CreationTimestamp.Time))
	})
	for _, e := range deferred {
		before := e.spec.Pod
		s.update(e, e.asked)
		if e.spec.Pod != before && e.resize.Pending == nil {
			e.assign(assignment{spec: e.spec, resize: e.resize, stop: e.stop})
		}
	}
}

func priority(p *corev1.Pod) int32 {
	if p.Spec.Priority == nil {
		return 0
	}
	return *p.Spec.Priority
}

// rank is smaller the better a pod is served.
func rank(p *corev1.Pod) int {
	if pod.QOS(p) == corev1.PodQOSGuaranteed {
		return 0
	}
	return 1
}
