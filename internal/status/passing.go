package status

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// overtaken is how long a status waits that is about to be overtaken: the steps of a
// start or of an end that goes well follow each other faster than that.
const overtaken = 250 * time.Millisecond

// The time between two such statuses, of whatever pods, is between apart and farApart.
// Where many pods start or end at once their steps take seconds, and to tell of each
// costs the API server the time in which it could tell of pods that are ready. It is
// tenfold what the last request took: the busier the server, the fewer steps.
const (
	apart    = 100 * time.Millisecond
	farApart = 500 * time.Millisecond
	tenfold  = 10
)

// turn is a place in the line of those whose status is about to be overtaken.
type turn struct {
	uid types.UID
	// after is the earliest time to send it.
	after time.Time
}

// lineUp gives the entry a place at the end of the line, if it has none. The caller
// holds the lock.
func (w *Writer) lineUp(e *entry) {
	if e.turn != nil {
		return
	}
	e.turn = &turn{e.pod.UID, time.Now().Add(overtaken)}
	if w.line = append(w.line, e.turn); len(w.line) == 1 {
		w.clock.Reset(overtaken)
	}
}

// takeTurns sends those whose turn has come, one in each while, and sets the clock for
// the next. Who was told of otherwise meanwhile has left the line, so that nobody waits
// for a turn that is not taken.
func (w *Writer) takeTurns() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for ; len(w.line) > 0; w.line = w.line[1:] {
		first := w.line[0]
		e := w.entries[first.uid]
		if e == nil || e.turn != first {
			continue
		}
		if wait := max(first.after.Sub(now), w.lastTurn.Add(w.apart).Sub(now)); wait > 0 {
			w.clock.Reset(wait)
			return
		}
		w.lastTurn = now
		w.queue.Add(first.uid)
	}
}

// answered takes in how long the API server took for a status.
func (w *Writer) answered(in time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.apart = min(max(tenfold*in, apart), farApart)
}

// urgency is how soon a status has to be told.
type urgency int

const (
	atOnce urgency = iota
	// shortly is for what is likely to be overtaken before it is [overtaken] old.
	shortly
	// inTurn is for steps on the way up or down.
	inTurn
)

// urgencyOf tells how soon what changes for the entry's pod is to be sent.
func urgencyOf(e *entry) urgency {
	if e.finished {
		return atOnce
	}
	// Whoever routes to a pod leaves it when it is marked for deletion.
	if e.pod.DeletionTimestamp != nil {
		return inTurn
	}
	was, is := lasting(&e.base), lasting(&e.status)
	switch {
	case was.reason != is.reason || was.message != is.message ||
		!maps.Equal(was.conditions, is.conditions) || !maps.Equal(was.containers, is.containers):
		return atOnce
	case was.phase == is.phase:
		return inTurn
	case was.phase == corev1.PodPending && is.phase == corev1.PodRunning && probedAtOnce(e.pod, &e.status):
		return shortly
	}
	return atOnce
}

// probedAtOnce reports whether all containers of a pod run and are asked at their start
// whether they are ready: the answers of most come before the API server could be told.
func probedAtOnce(p *corev1.Pod, s *corev1.PodStatus) bool {
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		if c.ReadinessProbe == nil || c.ReadinessProbe.InitialDelaySeconds > 0 || c.StartupProbe != nil {
			return false
		}
	}
	for i := range s.ContainerStatuses {
		if s.ContainerStatuses[i].State.Running == nil {
			return false
		}
	}
	return true
}

// telling is the part of a status that somebody may wait for.
type telling struct {
	phase           corev1.PodPhase
	reason, message string
	conditions      map[corev1.PodConditionType]string
	containers      map[string]instance
}

// instance is that part of a container's status.
type instance struct {
	ready    bool
	restarts int32
	state    string
}

func lasting(s *corev1.PodStatus) telling {
	t := telling{phase: s.Phase, reason: s.Reason, message: s.Message,
		conditions: map[corev1.PodConditionType]string{}, containers: map[string]instance{}}
	if t.phase == "" {
		t.phase = corev1.PodPending
	}
	for _, c := range s.Conditions {
		switch c.Type {
		case corev1.PodScheduled, corev1.PodInitialized, corev1.PodReadyToStartContainers:
		case corev1.PodReady, corev1.ContainersReady:
			if c.Status == corev1.ConditionTrue {
				t.conditions[c.Type] = ""
			}
		default:
			if pod.OwnCondition(c.Type) {
				t.conditions[c.Type] = string(c.Status) + " " + c.Reason + " " + c.Message
			}
		}
	}
	for _, c := range slices.Concat(s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses) {
		if i := lastingOf(&c); i != (instance{}) {
			t.containers[c.Name] = i
		}
	}
	return t
}

func lastingOf(c *corev1.ContainerStatus) instance {
	i := instance{ready: c.Ready, restarts: c.RestartCount}
	switch {
	case c.State.Terminated != nil:
		i.state = c.State.Terminated.ContainerID + " has ended"
	case c.State.Waiting != nil && !starting(c.State.Waiting.Reason):
		i.state = c.State.Waiting.Reason + " " + c.State.Waiting.Message
	}
	return i
}

// starting are the reasons to wait of a container that has had no trouble.
func starting(reason string) bool {
	return reason == "ContainerCreating" || reason == "PodInitializing"
}
