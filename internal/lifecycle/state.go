package lifecycle

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// timelineSize bounds what a worker remembers for people.
const timelineSize = 64

// effectless is how soon after a success the same action may not be needed
// again; if it is, it had no effect and counts as failed.
const effectless = 5 * time.Second

// operation is an action that runs.
type operation struct {
	pod.Operation
	action plan.Action
	cancel context.CancelFunc
	// abandoned: the plan gave it up, so that its failure means nothing.
	abandoned bool
	// outdated: the pod has changed since in a way that asks for it again.
	outdated bool
}

// abandon ends an operation that has lost its purpose.
func (o *operation) abandon() {
	o.abandoned = true
	o.cancel()
}

// result is how an operation ended.
type result struct {
	op      *operation
	outcome outcome
	err     error
}

// state is what a worker's loop knows. Nobody else touches it, and a worker
// that starts with none of it gets to the same place.
type state struct {
	now  time.Time
	seen time.Time
	spec pod.Spec
	stop *pod.Stop
	gone bool
	sight
	disk
	pod.Sizing
	ops       map[pod.Target]*operation
	attempts  map[pod.Work]pod.Attempt
	done      map[pod.Work]success
	images    map[string]pod.Image
	hashes    map[string]string
	instances map[string]pod.Instance
	endBy     time.Time
	prior     corev1.PodStatus
	story
}

// sight is what the runtime showed, and how it was asked.
type sight struct {
	observed pod.Observation
	// looked is when the look began that showed it.
	looked time.Time
	// stale: the runtime has to be asked again before anything is decided.
	stale bool
	// ended is the container of which an event has told, since the last look, that it
	// has ended.
	ended           string
	observeFailures int
	observeAgain    time.Time
}

// disk is what is known of the node's disk, and what is to be written there.
type disk struct {
	volumes pod.Volumes
	removed pod.Removed
	// resized: what the containers were given has to be written down.
	resized bool
}

// story is the part of the state that is for people.
type story struct {
	timeline []pod.Entry
	phases   []pod.Phase
	wasReady bool
	told     map[plan.Note]bool
	closed   bool // the last status was handed over, and its object is to go after it
	probed   bool // some probe was asked for
	// start is the span of the pod's start while it lasts.
	start trace.Span
}

// success is the last time some work went well, and on what.
type success struct {
	id string
	at time.Time
	// repeats counts how often it had to be done again at once.
	repeats int
}

func newState(a assignment, now time.Time) *state {
	s := &state{
		now: now, seen: now, sight: sight{stale: true},
		ops:       map[pod.Target]*operation{},
		attempts:  map[pod.Work]pod.Attempt{},
		done:      map[pod.Work]success{},
		images:    map[string]pod.Image{},
		instances: map[string]pod.Instance{},
		story:     story{told: map[plan.Note]bool{}},
	}
	if a.spec.Pod != nil {
		s.prior = a.spec.Pod.Status
	}
	s.accept(a)
	return s
}

// accept takes over what the supervisor wants now.
func (s *state) accept(a assignment) {
	if a.spec.Pod != nil {
		if s.spec.Pod != nil {
			s.adoptForeign(&a.spec.Pod.Status)
			if len(a.spec.Pod.Spec.EphemeralContainers) != len(s.spec.Pod.Spec.EphemeralContainers) {
				s.volumes = nil // it may use one that nobody has used so far
				if op := s.ops[pod.TargetVolumes]; op != nil {
					op.outdated = true
				}
			}
		}
		s.spec = a.spec
		s.hashes, s.Resize = hashes(a.spec.Pod), a.resize
	}
	s.gone = s.gone || a.gone
	s.stopped(a.stop)
}

// stopped takes in a stop of the pod.
func (s *state) stopped(stop *pod.Stop) {
	before := s.stop
	s.stop = s.stop.Merge(stop)
	if !s.stop.Equal(before) {
		s.note(fmt.Sprintf("stop asked: %s by %s", stopReason(s.stop), s.stop.Deadline.UTC().Format(time.RFC3339)))
	}
}

// adoptForeign takes over what others write into the status: their conditions.
func (s *state) adoptForeign(api *corev1.PodStatus) {
	s.prior.Conditions = slices.Clone(s.prior.Conditions)
	for _, c := range api.Conditions {
		i := slices.IndexFunc(s.prior.Conditions, func(o corev1.PodCondition) bool { return o.Type == c.Type })
		if i < 0 {
			s.prior.Conditions = append(s.prior.Conditions, c)
		} else if !pod.OwnCondition(c.Type) {
			s.prior.Conditions[i] = c
		}
	}
	s.prior.ResourceClaimStatuses = api.ResourceClaimStatuses
	if s.prior.QOSClass == "" {
		s.prior.QOSClass = api.QOSClass
	}
}

// begin notes that an operation runs.
func (s *state) begin(op *operation) {
	s.ops[op.Target] = op
	switch a := op.action.(type) {
	case plan.RunPreStop:
		s.doom(a.Ending, true)
	case plan.StopContainer:
		s.doom(a.Ending, false)
	case plan.MountVolumes:
		s.removed.Volumes = false
	case plan.CreateSandbox:
		s.removed.Cgroup = false
	case plan.StartContainer:
		// Noted now: if the agent does not live to see the start, or its reply is
		// lost, the container has these all the same.
		s.Actuated = s.Actuated.With(a.Container.Name, a.Container.Resources)
		s.Actuated.Pod, s.resized = s.spec.Pod.Spec.Resources, true
	default:
	}
}

// doom notes that the end of an instance has begun.
func (s *state) doom(e plan.Ending, hook bool) {
	i := s.instances[e.ID]
	i.StopBy, i.Replace, i.PreStopped = e.Deadline, i.Replace || e.Replace, i.PreStopped || hook
	s.instances[e.ID] = i
}

// learn takes over what the probes have come to, and forgets the instances that
// are gone.
func (s *state) learn(verdicts map[pod.ProbeKey]pod.Verdict) {
	for key, v := range verdicts {
		s.instances[key.ContainerID] = s.instances[key.ContainerID].With(key.Kind, v)
	}
	maps.DeleteFunc(s.instances, func(id string, _ pod.Instance) bool {
		return !slices.ContainsFunc(s.observed.Containers, func(c pod.Container) bool { return c.ID == id })
	})
}

// end takes in how an operation ended. A failure leaves an attempt, a success
// takes the target's attempt away.
func (s *state) end(r *result, took time.Duration, now time.Time) {
	t := r.op.Target
	delete(s.ops, t)
	if r.err != nil && r.op.abandoned {
		s.note(fmt.Sprintf("%s of %s given up after %s", r.op.Verb, t, took.Round(time.Millisecond)))
	} else if r.err != nil {
		s.note(fmt.Sprintf("%s of %s failed after %s: %v", r.op.Verb, t, took.Round(time.Millisecond), r.err))
		s.fail(r.op.Work(), r.err, now)
	} else {
		s.note(fmt.Sprintf("%s of %s done in %s", r.op.Verb, t, took.Round(time.Millisecond)))
		work := r.op.Work()
		delete(s.attempts, work)
		last, next := s.done[work], success{id: actionID(r.op.action), at: now}
		if last.id == next.id {
			next.repeats = last.repeats
		}
		s.done[work] = next
		if r.op.Constructive {
			s.addPhase(pod.Phase{Name: phaseName(r.op), Took: took})
		}
	}
	s.apply(r)
}

// apply changes what is known beside the runtime; for the rest it is asked.
func (s *state) apply(r *result) {
	switch a := r.op.action.(type) {
	case plan.EnsureImage:
		if r.err == nil {
			s.images[a.Use.Key] = r.outcome.image
		}
	case plan.MountVolumes:
		if r.err == nil && !r.op.outdated {
			s.volumes = r.outcome.volumes
		}
	case plan.RemoveVolumes:
		s.volumes, s.removed.Volumes = nil, r.err == nil
	case plan.RemoveCgroup:
		s.removed.Cgroup = r.err == nil
	case plan.RemoveLogs:
		s.removed.Logs = r.err == nil
	case plan.StartContainer:
		// Each start makes sure of its images, as the pull policy says.
		delete(s.images, a.Container.Name)
		for volume := range a.VolumeImages {
			delete(s.images, pod.VolumeImageKey(volume))
		}
		if id := r.outcome.hookFailed; id != "" {
			i := s.instances[id]
			i.HookFailed = true
			s.instances[id] = i
		}
		s.stale = true
	case plan.Resize:
		for _, c := range a.Containers {
			s.Actuated = s.Actuated.With(c.Container.Name, r.outcome.actuated.Containers[c.Container.Name])
		}
		s.Actuated.Pod, s.resized, s.stale = r.outcome.actuated.Pod, true, true
	case plan.StopContainer:
		s.stale = r.err != nil || !s.showsEnded(a.ID)
	case plan.StopSandbox:
		s.stale = r.err != nil || !s.showsEnded(a.ID)
	case plan.CreateSandbox, plan.RemoveSandbox, plan.RunPreStop, plan.RemoveContainer:
		s.stale = true
	}
}

// fail records a failed attempt.
func (s *state) fail(work pod.Work, err error, now time.Time) {
	reason, message := pod.ReasonOf(err, fallbackReason(work.Verb))
	s.attempts[work] = pod.Attempt{Reason: reason, Message: message, Count: s.attempts[work].Count + 1, At: now}
}

// forgive drops the failed starts of containers that run after all: the effect
// was done and only the reply was lost.
func (s *state) forgive() {
	for work := range s.attempts {
		name, ok := work.Target.Container()
		if !ok || work.Verb != pod.VerbStartContainer {
			continue
		}
		if latest := s.observed.Latest(name); latest != nil && latest.State == pod.ContainerRunning && !s.instances[latest.ID].HookFailed {
			delete(s.attempts, work)
		}
	}
}

// relent ends the pauses after failures whose cause may have gone: something that
// the pod is made of has changed.
func (s *state) relent(why string) {
	for work, a := range s.attempts {
		if work.Target == pod.TargetVolumes || a.Reason == pod.ReasonContainerConfig {
			a.Again = true
			s.attempts[work] = a
		}
	}
	s.note("hint: " + why)
}

// guard takes out of the plan what was just done with success and is wanted
// again: it had no effect, and without a failure on record the loop would spin.
func (s *state) guard(p *plan.Plan) {
	p.Actions = slices.DeleteFunc(p.Actions, func(a plan.Action) bool {
		work := pod.Work{Target: a.Target(), Verb: a.Verb()}
		last, ok := s.done[work]
		if !ok || !changesRuntime(a) || last.id != actionID(a) || s.now.Sub(last.at) > effectless {
			return false
		}
		last.repeats++
		s.done[work] = last
		at := pod.Attempt{Reason: fallbackReason(work.Verb), Count: last.repeats, At: s.now,
			Message: fmt.Sprintf("%s of %s went well but had no effect", work.Verb, work.Target)}
		s.attempts[work] = at
		if p.WakeAt.IsZero() || at.Retry().Before(p.WakeAt) {
			p.WakeAt = at.Retry()
		}
		return true
	})
}

// changesRuntime reports whether the next observation must show the action.
func changesRuntime(a plan.Action) bool {
	switch a.(type) {
	case plan.CreateSandbox, plan.StopSandbox, plan.RemoveSandbox,
		plan.StartContainer, plan.StopContainer, plan.RemoveContainer:
		return true
	case plan.Resize, plan.EnsureImage, plan.MountVolumes, plan.RemoveVolumes, plan.RemoveCgroup, plan.RemoveLogs, plan.RunPreStop:
	}
	return false
}

// addPhase keeps the first time each step of the start was taken.
func (s *story) addPhase(p pod.Phase) {
	if !slices.ContainsFunc(s.phases, func(o pod.Phase) bool { return o.Name == p.Name }) {
		s.phases = append(s.phases, p)
	}
}

// note adds a line to the timeline.
func (s *story) note(text string) {
	if len(s.timeline) >= timelineSize {
		s.timeline = slices.Clone(s.timeline[len(s.timeline)-timelineSize+1:])
	}
	s.timeline = append(s.timeline, pod.Entry{At: time.Now(), Text: text})
}
