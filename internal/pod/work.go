package pod

import (
	"strings"
	"time"
)

// Target is what one operation works on. At most one operation per target runs
// at a time.
type Target string

// The targets of a pod that are not a container's.
const (
	TargetSandbox Target = "sandbox"
	TargetVolumes Target = "volumes"
	TargetCgroup  Target = "cgroup"
	TargetLogs    Target = "logs"
	TargetSizes   Target = "resources"
)

// The verbs whose failures a status shows.
const (
	VerbEnsureImage    = "EnsureImage"
	VerbStartContainer = "StartContainer"
	VerbRunPreStop     = "RunPreStop"
	VerbStopContainer  = "StopContainer"
	VerbResize         = "Resize"
)

const (
	imagePrefix     = "image/"
	containerPrefix = "container/"
)

// ImageTarget is the image with this key, see [ImageUse].
func ImageTarget(key string) Target { return Target(imagePrefix + key) }

// ContainerTarget is the named container's instance.
func ContainerTarget(container string) Target { return Target(containerPrefix + container) }

// Container returns the container whose instance a target is, if it is one.
func (t Target) Container() (name string, ok bool) {
	return strings.CutPrefix(string(t), containerPrefix)
}

// Operation is work that runs now.
type Operation struct {
	Target Target
	// Verb is the action's name, such as "StartContainer".
	Verb  string
	Since time.Time
	// Deadline is the kill time a running StopContainer was given.
	Deadline time.Time
	// Attempt is which instance a StartContainer makes.
	Attempt int
	// Constructive operations bring something up; a stop cancels them.
	Constructive bool
}

// Work is what an operation does: a verb on a target. Failures are kept for
// each, so that taking an old sandbox away does not forgive a failed new one.
type Work struct {
	Target Target
	Verb   string
}

// Work names what the operation does.
func (o Operation) Work() Work { return Work{o.Target, o.Verb} }

// Attempt is a failed operation: what was tried, why it failed, how often in a
// row. It is what makes the next Input differ, so that a failure never spins.
type Attempt struct {
	// Reason is the kubelet's word for the failure (ErrImagePull,
	// CreateContainerError, ...); Message is what the runtime said.
	Reason  string
	Message string
	Count   int
	At      time.Time
	// Again: the cause may be gone, so that there is no pause before the next try.
	Again bool
}

const (
	backoffBase = 10 * time.Second
	retryBase   = time.Second
	retryCap    = 30 * time.Second
)

// MaxBackoff is the longest crash-loop and image-pull delay unless
// crashLoopBackOff.maxContainerRestartPeriod says less.
const MaxBackoff = 300 * time.Second

// forgiven is how long a container must have run for its crashes to be
// forgotten: twice the longest delay, as in the kubelet.
const forgiven = 2 * MaxBackoff

// Retry is when a failed operation may be tried again: at once is never right,
// and half a minute is as long as a user should wait for a healed cause.
func (a Attempt) Retry() time.Time {
	if a.Again {
		return a.At
	}
	return a.At.Add(double(retryBase, a.Count-1, retryCap))
}

// PullRetry is when a failed image pull may be tried again: 10 s, doubling to
// five minutes.
func (a Attempt) PullRetry() time.Time {
	return a.At.Add(double(backoffBase, a.Count-1, MaxBackoff))
}

// double returns base doubled n times, at most limit.
func double(base time.Duration, n int, limit time.Duration) time.Duration {
	d := base
	for range n {
		if d >= limit {
			break
		}
		d *= 2
	}
	return min(d, limit)
}

// Restart says when a container that exited may be started again, and the
// crash count its next instance carries.
type Restart struct {
	At         time.Time
	Delay      time.Duration
	CrashCount int
}

// RestartAfter works out the crash loop from the dead instance alone: its run
// time and the crash count it was started with. The first restart is immediate,
// the next ones wait 10 s doubling to limit after the exit; a run of ten
// minutes is forgiven. hash is the container's hash in the spec: an edited
// container starts afresh.
//
// An instance that was replaced, because it failed a probe or its definition
// changed, is followed at once if it has lived for longer than the delay of the
// restart before: so the kubelet counts, which looks at the exit before.
//
// Nothing has to be remembered for it, so an agent that was killed goes on
// with the same delays.
func RestartAfter(dead *Container, hash string, limit time.Duration, replaced bool) Restart {
	end := dead.FinishedAt
	if end.IsZero() {
		end = dead.CreatedAt
	}
	crashes := dead.CrashCount
	if crashes < 0 {
		crashes = dead.Attempt // a kubelet's container: its restarts are all we know
	}
	ran := time.Duration(0)
	if !dead.StartedAt.IsZero() {
		ran = end.Sub(dead.StartedAt)
	}
	edited := dead.Hash != "" && hash != "" && dead.Hash != hash
	if edited || ran > forgiven {
		crashes = 0
	}
	if crashes == 0 {
		return Restart{At: end, CrashCount: 1}
	}
	if replaced && (crashes == 1 || end.Sub(dead.CreatedAt) >= double(min(backoffBase, limit), crashes-2, limit)) {
		return Restart{At: end, CrashCount: crashes + 1}
	}
	delay := double(min(backoffBase, limit), crashes-1, limit)
	return Restart{At: end.Add(delay), Delay: delay, CrashCount: crashes + 1}
}
