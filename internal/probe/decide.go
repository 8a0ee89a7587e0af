package probe

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/probe/answer"
)

// rules are the numbers of a probe, with the defaults that the API server fills
// in; nobody does that for static pods.
type rules struct {
	delay, period, timeout time.Duration
	success, failure       int32
}

// rulesOf reads the numbers of a probe.
func rulesOf(p *corev1.Probe) rules {
	or := func(n, fallback int32) int32 {
		if n > 0 {
			return n
		}
		return fallback
	}
	seconds := func(n int32) time.Duration { return time.Duration(n) * time.Second }
	return rules{
		delay:   seconds(or(p.InitialDelaySeconds, 0)),
		period:  seconds(or(p.PeriodSeconds, 10)),
		timeout: seconds(or(p.TimeoutSeconds, 1)),
		success: or(p.SuccessThreshold, 1),
		failure: or(p.FailureThreshold, 3),
	}
}

// first returns when a probe that begins to be watched now runs first: after its
// delay, or at once. The answer is counted from now, so that a clock that is set
// moves no probe later on, and a start that seems to lie ahead is taken for now.
// known says that the container was there before the agent: then [rules.resume] says.
func (r rules) first(startedAt, now, agentStart time.Time) (at time.Time, known bool) {
	if startedAt.After(now) {
		startedAt = now
	}
	due := startedAt.Add(r.delay)
	return now.Add(max(0, due.Sub(now))), due.Before(agentStart)
}

// resume returns when a probe is asked whose container was there before the agent.
// All of these begin to be watched at the same moment, so their ticks are spread
// over a period; share is where in it, from 0 to 1. What is known of them is old,
// so each is asked once before, when it is its turn: due. The tick that follows
// comes no earlier than half a period after that, so that a container that is slow
// at this moment has not failed twice.
func (r rules) resume(now, turn time.Time, share float64) (tick, due time.Time) {
	tick = now.Add(time.Duration(share * float64(r.period)))
	if !turn.Before(tick) {
		return tick, tick
	}
	if tick.Sub(turn) < r.period/2 {
		return tick, turn
	}
	return tick.Add(-r.period), turn
}

// turnFor is how long after the turn of such a probe that of the next one comes: so
// much of the node is spent on each. Commands take the runtime far more than a
// connection takes the agent.
func turnFor(p *corev1.Probe) time.Duration {
	if p.Exec != nil {
		return 50 * time.Millisecond
	}
	return 5 * time.Millisecond
}

// behind returns the newest tick at or before now of the ticks that follow one
// another by a period, and how many were passed over for it.
func (r rules) behind(tick, now time.Time) (newest time.Time, skipped int) {
	late := now.Sub(tick)
	if late < r.period {
		return tick, 0
	}
	n := int(late / r.period)
	return tick.Add(time.Duration(n) * r.period), n
}

// next returns the tick of the run after the one of the given tick, which has
// ended now, when it is due, and how many ticks have fallen into the run without
// getting one of their own. Ticks keep to the first one: a run that took too
// long is followed by another at once, and then by the next tick.
func (r rules) next(tick, now time.Time) (newTick, due time.Time, skipped int) {
	newTick = tick.Add(r.period)
	if newTick.After(now) {
		return newTick, newTick, 0
	}
	newTick, skipped = r.behind(newTick, now)
	return newTick, now, skipped
}

// tally is what the answers of a probe have come to.
type tally struct {
	// last is what the newest answer was, and run how many in a row were the same.
	last pod.Verdict
	run  int32
	// verdict is what is known of the container.
	verdict pod.Verdict
	// held means that this instance of the container is not asked again.
	held bool
}

// add counts an answer. The verdict changes when the same answer came as often
// in a row as the threshold says. After a liveness failure the container will be
// replaced, and after any startup verdict there is nothing left to find out: the
// probe is held. An answer that says nothing is not counted.
func (t tally) add(kind pod.ProbeKind, r rules, result answer.Result) tally {
	now, need := pod.VerdictSuccess, r.success
	switch result {
	case answer.Unknown:
		return t
	case answer.Failure:
		now, need = pod.VerdictFailure, r.failure
	case answer.Success, answer.Warning:
	}
	if t.last != now {
		t.last, t.run = now, 0
	}
	t.run++
	if t.run < need {
		return t
	}
	t.verdict = now
	t.held = kind == pod.ProbeStartup || kind == pod.ProbeLiveness && now == pod.VerdictFailure
	return t
}
