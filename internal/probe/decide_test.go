package probe

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/probe/answer"
)

func TestRulesHaveDefaults(t *testing.T) {
	t.Parallel()
	standard := rules{period: 10 * time.Second, timeout: time.Second, success: 1, failure: 3}
	for name, c := range map[string]struct {
		in   corev1.Probe
		want rules
	}{
		"nothing said": {corev1.Probe{}, standard},
		"nonsense": {corev1.Probe{
			InitialDelaySeconds: -1, PeriodSeconds: -1, TimeoutSeconds: -1, SuccessThreshold: -1, FailureThreshold: -1,
		}, standard},
		"all said": {
			corev1.Probe{InitialDelaySeconds: 1, PeriodSeconds: 2, TimeoutSeconds: 3, SuccessThreshold: 4, FailureThreshold: 5},
			rules{delay: time.Second, period: 2 * time.Second, timeout: 3 * time.Second, success: 4, failure: 5},
		},
	} {
		if got := rulesOf(&c.in); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestFirst(t *testing.T) {
	t.Parallel()
	r := rules{delay: 5 * time.Second, period: 10 * time.Second}
	agent := time.Now()
	at := func(s float64) time.Time { return agent.Add(time.Duration(s * float64(time.Second))) }
	for name, c := range map[string]struct {
		started, now float64
		want         float64
		known        bool
	}{
		"just started":                        {started: 100, now: 100, want: 105},
		"noticed late":                        {started: 100, now: 103, want: 105},
		"noticed after the delay":             {started: 100, now: 200, want: 200},
		"there before the agent":              {started: -100, now: 1, want: 1, known: true},
		"delay ends after the agent came":     {started: -1, now: 1, want: 4},
		"started ahead: the clock was set":    {started: 5000, now: 100, want: 105},
		"delay ends just as the agent begins": {started: -5, now: 0, want: 0},
	} {
		// What the runtime says has no monotonic time.
		if got, known := r.first(at(c.started).Round(0), at(c.now), agent); !near(got, at(c.want)) || known != c.known {
			t.Errorf("%s: %s after the agent, known %v, want %+v", name, got.Sub(agent), known, c)
		}
	}
}

func TestResume(t *testing.T) {
	t.Parallel()
	r := rules{period: 10 * time.Second}
	zero := time.Now()
	at := func(s float64) time.Time { return zero.Add(time.Duration(s * float64(time.Second))) }
	for name, c := range map[string]struct {
		turn, share float64
		due, next   float64
	}{
		"long before its tick":      {turn: 1, share: 0.9, due: 1, next: 9},
		"half a period before":      {turn: 1, share: 0.6, due: 1, next: 6},
		"right before its tick":     {turn: 1, share: 0.2, due: 1, next: 12},
		"its turn comes too late":   {turn: 7, share: 0.3, due: 3, next: 13},
		"many were before it":       {turn: 70, share: 0.3, due: 3, next: 13},
		"its turn and tick are one": {turn: 0, share: 0, due: 0, next: 10},
	} {
		tick, due := r.resume(at(0), at(c.turn), c.share)
		tick, skipped := r.behind(tick, due)
		next, _, more := r.next(tick, due)
		if !near(due, at(c.due)) || !near(next, at(c.next)) || skipped+more > 0 {
			t.Errorf("%s: due %s, next %s, %d skipped; want %+v", name, due.Sub(zero), next.Sub(zero), skipped+more, c)
		}
	}
}

// near allows for what the two clocks drift in a test.
func near(a, b time.Time) bool { return a.Sub(b).Abs() < time.Millisecond }

func TestNext(t *testing.T) {
	t.Parallel()
	r := rules{period: 10 * time.Second}
	zero := time.Now()
	at := func(s int) time.Time { return zero.Add(time.Duration(s) * time.Second) }
	for name, c := range map[string]struct {
		ended, tick, due, skipped int
	}{
		"at once":                   {ended: 0, tick: 10, due: 10},
		"in time":                   {ended: 9, tick: 10, due: 10},
		"just when the next is due": {ended: 10, tick: 10, due: 10},
		"into the next":             {ended: 13, tick: 10, due: 13},
		"into the third":            {ended: 29, tick: 20, due: 29, skipped: 1},
		"far too long":              {ended: 105, tick: 100, due: 105, skipped: 9},
	} {
		tick, due, skipped := r.next(at(0), at(c.ended))
		if !tick.Equal(at(c.tick)) || !due.Equal(at(c.due)) || skipped != c.skipped {
			t.Errorf("%s: tick %s, due %s, %d skipped; want %+v", name, tick.Sub(zero), due.Sub(zero), skipped, c)
		}
	}
}

func TestTally(t *testing.T) {
	t.Parallel()
	const (
		unknown, success, failure = pod.VerdictUnknown, pod.VerdictSuccess, pod.VerdictFailure
		liveness, readiness       = pod.ProbeLiveness, pod.ProbeReadiness
		startup                   = pod.ProbeStartup
	)
	type step struct {
		answer  byte // s, f, w(arning), u(nknown)
		verdict pod.Verdict
		held    bool
	}
	for name, c := range map[string]struct {
		kind             pod.ProbeKind
		success, failure int32
		steps            []step
	}{
		"one success is enough": {readiness, 1, 3, []step{{'s', success, false}}},
		"a warning is a success": {readiness, 2, 3, []step{
			{'w', unknown, false}, {'s', success, false}, {'f', success, false}, {'f', success, false}, {'w', success, false},
		}},
		"failures in a row": {readiness, 1, 3, []step{
			{'f', unknown, false}, {'f', unknown, false}, {'f', failure, false}, {'f', failure, false}, {'s', success, false},
		}},
		"a success between starts the count anew": {readiness, 2, 2, []step{
			{'f', unknown, false}, {'s', unknown, false}, {'f', unknown, false}, {'f', failure, false},
			{'s', failure, false}, {'f', failure, false}, {'s', failure, false}, {'s', success, false},
		}},
		"what says nothing is not counted and ends no row": {readiness, 1, 2, []step{
			{'u', unknown, false}, {'f', unknown, false}, {'u', unknown, false}, {'f', failure, false}, {'u', failure, false},
		}},
		"a container that is not alive is not asked again": {liveness, 1, 2, []step{
			{'s', success, false}, {'f', success, false}, {'f', failure, true},
		}},
		"one that has started neither":  {startup, 1, 3, []step{{'f', unknown, false}, {'s', success, true}}},
		"nor one that will never start": {startup, 1, 2, []step{{'f', unknown, false}, {'f', failure, true}}},
	} {
		var tl tally
		r := rules{success: c.success, failure: c.failure}
		for n, s := range c.steps {
			results := map[byte]answer.Result{'s': answer.Success, 'f': answer.Failure, 'w': answer.Warning, 'u': answer.Unknown}
			tl = tl.add(c.kind, r, results[s.answer])
			if tl.verdict != s.verdict || tl.held != s.held {
				t.Errorf("%s: after %d answers the verdict is %d, held %v; want %d, %v", name, n+1, tl.verdict, tl.held, s.verdict, s.held)
			}
		}
	}
}
