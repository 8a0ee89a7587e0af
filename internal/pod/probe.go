package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// ProbeKind says what a probe's answer decides.
type ProbeKind int

// The kinds of probes.
const (
	ProbeLiveness ProbeKind = iota
	ProbeReadiness
	ProbeStartup
)

// String is the kind as events name it.
func (k ProbeKind) String() string {
	switch k {
	case ProbeReadiness:
		return "Readiness"
	case ProbeStartup:
		return "Startup"
	case ProbeLiveness:
	}
	return "Liveness"
}

// Spec returns the container's probe of this kind, or nil.
func (k ProbeKind) Spec(c *corev1.Container) *corev1.Probe {
	switch k {
	case ProbeReadiness:
		return c.ReadinessProbe
	case ProbeStartup:
		return c.StartupProbe
	case ProbeLiveness:
	}
	return c.LivenessProbe
}

// ProbeKey names one probe of one container instance. The next instance of the
// container has another key, so that no answer outlives whom it was about.
type ProbeKey struct {
	ContainerID string
	Kind        ProbeKind
}

// ProbeTarget is a probe that has to be run now, and all that it takes.
type ProbeTarget struct {
	ProbeKey
	// Container is the container's spec, which has the probe of the key's kind.
	Container *corev1.Container
	// IP is the pod's first address, for probes that name no host.
	IP string
	// StartedAt is when the instance was started; its initial delay counts from
	// there.
	StartedAt time.Time
}

// Verdict is what the answers of a probe come to, by its thresholds.
type Verdict int

// The verdicts of a probe. Until enough answers are in it is unknown.
const (
	VerdictUnknown Verdict = iota
	VerdictSuccess
	VerdictFailure
)

// HookTarget is a lifecycle handler to be run, and all that it takes.
type HookTarget struct {
	Pod         *corev1.Pod
	Container   *corev1.Container
	ContainerID string
	Handler     *corev1.LifecycleHandler
	// IP is the pod's first address, for requests that name no host.
	IP string
}
