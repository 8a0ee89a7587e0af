package lifecycle

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/podstatus"
)

// input gathers everything the decision may depend on.
func (w *worker) input(s *state) *pod.Input {
	in := &pod.Input{
		Now: s.now, Ref: w.ref, Spec: s.spec, Stop: s.stop,
		Observed: s.observed, Attempts: s.attempts, Hashes: s.hashes, Images: s.images,
		Instances: s.instances, EndBy: s.endBy, Sizing: s.Sizing,
		Volumes: s.volumes, Removed: s.removed, Prior: s.prior, Node: w.deps.Node(),
		Running: make(map[pod.Target]pod.Operation, len(s.ops)),
	}
	for t, op := range s.ops {
		in.Running[t] = op.Operation
	}
	return in
}

// report tells the world what was decided: status, events, one log line.
func (w *worker) report(s *state, in *pod.Input, p *plan.Plan) {
	if len(p.Actions) > 0 {
		w.log().Info("plan", zap.String("stage", p.Stage), zap.Strings("actions", p.Reasons))
		for _, r := range p.Reasons {
			s.note(r)
		}
	}
	if s.spec.Pod == nil || s.observed.At.IsZero() {
		return
	}
	w.tell(s, p.Notes)
	w.publish(s, podstatus.Compute(in), p.Done || p.Released)
	if !s.wasReady && ready(&s.prior) {
		s.wasReady = true
		s.traceReady()
		s.note(fmt.Sprintf("ready %s after it was first seen", s.now.Sub(s.seen).Round(time.Millisecond)))
		if h := w.deps.Hooks.Ready; h != nil {
			h(s.spec.Pod, s.now.Sub(s.seen))
		}
	}
}

// publish hands over what the pod's status has become, and whether it is the last one.
func (w *worker) publish(s *state, status corev1.PodStatus, last bool) {
	before := s.prior
	s.prior = status
	w.tellResize(s, before.Conditions, s.prior.Conditions)
	if h := w.deps.Hooks.Reported; h != nil {
		h(s.spec, &before, &s.prior, s.seen)
	}
	if !s.gone && !s.spec.Static() && !s.closed { // a static pod's mirror is another object
		w.deps.Status.Publish(s.spec.Pod, s.prior, last)
		s.closed = last && s.spec.Pod.DeletionTimestamp != nil
	}
}

// glimpse tells that a container has ended as soon as the runtime's event says how.
// Nothing is decided on that, nor is the pod's own end told of: the look comes next.
func (w *worker) glimpse(s *state) {
	id := s.ended
	s.ended = ""
	i := slices.IndexFunc(s.observed.Containers, func(c pod.Container) bool { return c.ID == id && c.State == pod.ContainerRunning })
	if i < 0 || s.spec.Pod == nil {
		return
	}
	ended, ok := w.deps.Observer.Ended(w.ref.UID, id)
	if !ok {
		return
	}
	s.now = time.Now()
	in := w.input(s)
	in.Observed.Containers = slices.Clone(in.Observed.Containers)
	in.Observed.Containers[i] = ended
	if status := podstatus.Compute(in); status.Phase == corev1.PodRunning {
		w.publish(s, status, false)
	}
}

// tell records the notes that are new.
func (w *worker) tell(s *state, notes []plan.Note) {
	told := make(map[plan.Note]bool, len(notes))
	for _, n := range notes {
		if !s.told[n] && !told[n] {
			w.deps.Events.Event(s.spec.Pod, n.Container, n.Warning, n.Reason, n.Message)
			s.note(n.Reason + ": " + n.Message)
		}
		told[n] = true
	}
	s.told = told
}

// publishView lets readers see where the pod is.
func (w *worker) publishView(s *state, p *plan.Plan) {
	waits := slices.Clone(p.Waits)
	for _, t := range slices.Sorted(maps.Keys(s.ops)) {
		op := s.ops[t]
		if op.Since.Equal(s.now) { // started after the plan was made
			waits = append(waits, pod.Wait{What: op.Verb + " of " + string(t) + " to end", Since: op.Since, Next: op.Deadline})
		}
	}
	next := make(chan struct{})
	v := &pod.View{
		Ref: w.ref, Pod: s.spec.Pod, Source: s.spec.Source, Status: s.prior, Stage: p.Stage,
		Waits: waits, Timeline: slices.Clip(s.timeline), Phases: slices.Clip(s.phases), Superseded: next,
	}
	if len(s.observed.Sandboxes) > 0 {
		v.Sandbox = s.observed.Sandboxes[0].ID
	}
	w.view.Store(v)
	w.supersede()
	w.superseded = next
	if h := w.deps.Hooks.Viewed; h != nil {
		h(w.ref.UID)
	}
}

// supersede tells the readers of the last view to look again.
func (w *worker) supersede() {
	if w.superseded != nil {
		close(w.superseded)
		w.superseded = nil
	}
}

// finish says goodbye to a pod of which nothing is left.
func (w *worker) finish(s *state) {
	w.log().Info("nothing of the pod is left on this node")
	w.deps.Observer.Forget(w.ref.UID)
	w.deps.Givens.Forget(w.ref.UID)
	if s.gone {
		w.deps.Status.Forget(w.ref.UID)
	}
}

func ready(st *corev1.PodStatus) bool {
	for _, c := range st.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func stopReason(s *pod.Stop) string {
	switch {
	case s.Reason != "":
		return s.Reason
	case s.Delete:
		return "deletion"
	}
	return "end"
}
