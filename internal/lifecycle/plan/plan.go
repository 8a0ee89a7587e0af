package plan

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Plan is what to do now for one pod.
type Plan struct {
	// Actions may all start now, at the same time.
	Actions []Action
	// Cancel names running operations that have lost their purpose.
	Cancel []pod.Target
	// WakeAt is when to plan again if nothing happens before; zero: never.
	WakeAt time.Time
	// Stop is a stop that follows from the pod itself: its deadline has passed. It
	// comes without anything else and is to be part of the next input.
	Stop *pod.Stop
	// EndBy is when the processes of a pod whose work is done must have ended; it
	// is set when that is first decided and is to be part of the next input.
	EndBy time.Time
	// Released says that the pod has nothing on the node but dead things in the
	// runtime: nobody has to wait until it gives them up.
	Released bool
	// Done says that nothing of the pod is left, here or in the runtime.
	Done bool
	// Stage is Syncing, Terminating or Terminated.
	Stage string
	// Reasons say why each action is taken; Waits what is waited for.
	Reasons []string
	Waits   []pod.Wait
	// Notes are things users are told once, as events.
	Notes []Note
}

// The stages of a pod's life as the agent sees it. They only go forward.
const (
	Syncing     = "Syncing"
	Terminating = "Terminating"
	Terminated  = "Terminated"
)

// Note is an event that follows from the pod's state rather than from an
// action. It is told once for as long as the plan repeats it unchanged.
type Note struct {
	// Container the event is about; empty for the pod.
	Container string
	Warning   bool
	Reason    string
	Message   string
}

// Next decides what to do for a pod.
func Next(in *pod.Input) Plan {
	p := &Plan{Stage: Syncing}
	switch {
	case in.Stop != nil || in.Pod == nil:
		stopping(in, p)
	case in.Over():
		windDown(in, p)
	case overdue(in, p):
	default:
		syncing(in, p)
	}
	return *p
}

// The texts of a pod that ran longer than activeDeadlineSeconds.
const (
	deadlineExceeded = "DeadlineExceeded"
	deadlineMessage  = "Pod was active on the node longer than the specified deadline"
)

// overdue stops a pod that has been active for longer than it may be.
func overdue(in *pod.Input, p *Plan) bool {
	limit, start := in.Pod.Spec.ActiveDeadlineSeconds, in.Prior.StartTime
	if limit == nil || start == nil {
		return false
	}
	at := start.Add(time.Duration(*limit) * time.Second)
	if in.Now.Before(at) {
		p.wake(at)
		return false
	}
	p.Stop = &pod.Stop{Reason: deadlineExceeded, Message: deadlineMessage, Phase: corev1.PodFailed, Deadline: in.Now.Add(pod.Grace(in.Pod))}
	return true
}

// do adds an action unless its target is busy or backed off.
func (p *Plan) do(in *pod.Input, a Action, why string, args ...any) bool {
	t := a.Target()
	if in.Busy(t) || slices.ContainsFunc(p.Actions, func(o Action) bool { return o.Target() == t }) {
		return false
	}
	if at, failed := in.Attempts[pod.Work{Target: t, Verb: a.Verb()}]; failed {
		retry := at.Retry()
		if _, image := a.(EnsureImage); image {
			retry = at.PullRetry()
		}
		if in.Now.Before(retry) {
			p.wake(retry)
			p.Waits = append(p.Waits, pod.Wait{
				What:  fmt.Sprintf("%s of %s failed %d times: %s", a.Verb(), t, at.Count, at.Message),
				Since: at.At, Next: retry,
			})
			return false
		}
	}
	p.Actions = append(p.Actions, a)
	p.Reasons = append(p.Reasons, a.Verb()+" "+string(t)+": "+fmt.Sprintf(why, args...))
	return true
}

// wake asks for a look at the given time, if that is sooner than known.
func (p *Plan) wake(at time.Time) {
	if p.WakeAt.IsZero() || at.Before(p.WakeAt) {
		p.WakeAt = at
	}
}

// wait says what the pod waits for.
func (p *Plan) wait(since, next time.Time, what string, args ...any) {
	p.Waits = append(p.Waits, pod.Wait{What: fmt.Sprintf(what, args...), Since: since, Next: next})
	if !next.IsZero() {
		p.wake(next)
	}
}

// waitForRunning lists the operations in flight among the waits.
func (p *Plan) waitForRunning(in *pod.Input) {
	for _, op := range sortedOperations(in) {
		p.Waits = append(p.Waits, pod.Wait{What: op.Verb + " of " + string(op.Target) + " to end", Since: op.Since, Next: op.Deadline})
	}
}
