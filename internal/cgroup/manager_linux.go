package cgroup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/systemd"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// ReasonFailedCreate is the event reason when a pod's cgroup cannot be made.
const ReasonFailedCreate = "FailedCreatePodContainer"

// Config is what a [Manager] needs to know.
type Config struct {
	Driver Driver
	// Root is where kubepods is made: "" or "/" for the top.
	Root string
	// PerQOS gives each pod a cgroup, below one for its class. Without it pods
	// live where the runtime puts them, and the manager does nothing.
	PerQOS bool
	// NoCPUQuota leaves CPU limits of pods without effect (cpuCFSQuota: false).
	NoCPUQuota bool
	// CPUPeriod is the period of CPU quotas, 100 ms when it is 0.
	CPUPeriod time.Duration
	// PodPidsLimit bounds the processes of a pod; 0 or less does not.
	PodPidsLimit int64
	// NoMemoryQoS turns the MemoryQoS feature gate off. It and the two below need
	// cgroup v2.
	NoMemoryQoS bool
	// TieredReservation is memoryReservationPolicy: TieredReservation, which
	// protects the memory that pods request.
	TieredReservation bool
	// MemoryThrottlingFactor is the configuration field, above 0 and up to 1: how
	// far above its request a pod with limits of its own is slowed down.
	MemoryThrottlingFactor *float64
	// ExclusiveCPUs says whether a container of the pod has CPUs for itself, in
	// which case the pod has no quota. nil: no pod has.
	ExclusiveCPUs func(p *corev1.Pod) bool
}

func (c *Config) tiered() bool { return c.TieredReservation && !c.NoMemoryQoS }

func (c *Config) period() time.Duration {
	if c.CPUPeriod == 0 {
		return defaultPeriod
	}
	return c.CPUPeriod
}

// Manager makes and removes the cgroups of pods. It is safe for concurrent use.
type Manager struct {
	cfg  Config
	pods name // <root>/kubepods
	host host
	log  *zap.Logger

	mu sync.Mutex
	// warned holds what was said already of what this machine does not allow.
	warned map[string]bool
	// asks are what the pods that have a cgroup ask of their class.
	asks    map[types.UID]ask
	adopted bool
	classes map[corev1.PodQOSClass]*classState
}

// New looks at the machine's cgroups and returns a manager. It makes nothing.
func New(cfg Config, log *zap.Logger) (*Manager, error) {
	switch {
	case cfg.Driver != Cgroupfs && cfg.Driver != Systemd:
		return nil, fmt.Errorf("cgroup driver %q is neither %s nor %s", cfg.Driver, Cgroupfs, Systemd)
	case cfg.PerQOS && cfg.Driver == Systemd && !systemd.IsRunningSystemd():
		return nil, errors.New("cgroup driver is systemd, but systemd does not run on this machine")
	case cfg.period() < time.Millisecond || cfg.period() > time.Second:
		return nil, fmt.Errorf("CPU quota period %s is not between 1 ms and 1 s", cfg.CPUPeriod)
	}
	h, err := lookAtHost()
	if err != nil && cfg.PerQOS {
		return nil, fmt.Errorf("look at this machine's cgroups: %w", err)
	}
	m := &Manager{
		cfg: cfg, pods: parseRoot(cfg.Root).child(podsName), host: h, log: log,
		warned: map[string]bool{}, asks: map[types.UID]ask{}, classes: map[corev1.PodQOSClass]*classState{
			corev1.PodQOSGuaranteed: {}, corev1.PodQOSBurstable: {}, corev1.PodQOSBestEffort: {},
		},
	}
	if cfg.PerQOS {
		if err := m.prime(); err != nil {
			return nil, fmt.Errorf("look at this machine's cgroups: %w", err)
		}
	}
	return m, nil
}

// CheckV1 refuses a machine with cgroup v1 when fail is set (failCgroupV1, which
// is the default).
func CheckV1(fail bool) error {
	return checkV1(cgroups.IsCgroup2UnifiedMode(), fail)
}

func checkV1(unified, fail bool) error {
	if unified || !fail {
		return nil
	}
	return errors.New("this machine uses cgroup v1, and failCgroupV1 is true (its default): " +
		"set failCgroupV1: false in the configuration to run here, or boot the machine with cgroup v2")
}

// Parent is the cgroup parent CRI is given for a pod; empty when pods have no
// cgroup of their own.
func (m *Manager) Parent(p *corev1.Pod) string {
	if !m.cfg.PerQOS {
		return ""
	}
	return m.podName(pod.QOS(p), p.UID).path(m.cfg.Driver)
}

// Above are the cgroups around those of pods, that of all pods first, as [Manager.Parent]
// names them; none when pods have no cgroup of their own.
func (m *Manager) Above() []string {
	if !m.cfg.PerQOS {
		return nil
	}
	return []string{
		m.pods.path(m.cfg.Driver),
		m.pods.class(corev1.PodQOSBurstable).path(m.cfg.Driver), m.pods.class(corev1.PodQOSBestEffort).path(m.cfg.Driver),
	}
}

func (m *Manager) podName(class corev1.PodQOSClass, uid types.UID) name {
	return m.pods.class(class).child(podPrefix + string(uid))
}

// Ensure makes the pod's cgroup, and those above it, and sets its limits. A
// limit the machine does not allow is said once in the log and is no failure;
// a cgroup that cannot be made is a [pod.Failure].
//
// Of a cgroup that is there the limits are set again, as the agent may have been
// stopped before it set them. The memory limit is not lowered: that is for
// [Manager.Resize], which looks at what is in use. One that went away, in a
// hierarchy or in all, is made anew and empty: what ran in it runs somewhere else
// without limits and has to be started again (see [Manager.Exists]).
func (m *Manager) Ensure(ctx context.Context, p *corev1.Pod) (pod.Grant, error) {
	if !m.cfg.PerQOS {
		return pod.Grant{}, nil
	}
	if err := ctx.Err(); err != nil {
		return pod.Grant{}, fmt.Errorf("make the cgroup of pod %s: %w", pod.RefOf(p), err)
	}
	if err := validUID(p.UID); err != nil {
		return pod.Grant{}, createFailure(err)
	}
	m.adopt()
	n := m.podName(pod.QOS(p), p.UID)
	l := m.Wanted(p)
	if l.Memory != nil && m.complete(n) {
		if old, err := m.memoryLimit(n); err == nil && old != Unlimited && *l.Memory < old {
			l.Memory = nil
		}
	}
	if err := m.create(n, l); err != nil {
		return pod.Grant{}, createFailure(fmt.Errorf("failed to create container for %v : %w", []string(n), err))
	}
	m.remember(p)
	m.settle()
	return pod.Grant{CgroupParent: n.path(m.cfg.Driver)}, nil
}

func createFailure(err error) error {
	return &pod.Failure{Reason: ReasonFailedCreate, Message: fmt.Sprintf("unable to ensure pod container exists: %v", err), Err: err}
}

// warn names once what this machine does not allow.
func (m *Manager) warn(controller, message string, err error) {
	if err == nil {
		return
	}
	m.mu.Lock()
	said := m.warned[controller+message]
	m.warned[controller+message] = true
	m.mu.Unlock()
	if !said {
		m.log.Warn(message+"; going on without, and not saying it again", zap.String("controller", controller), zap.Error(err))
	}
}
