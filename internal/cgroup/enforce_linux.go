package cgroup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// EnforceAgain is after how long to try again what [Manager.Enforce] failed at.
const EnforceAgain = time.Minute

// SettleEvery is how often [Manager.Settle] is wanted.
const SettleEvery = time.Minute

// Enforce makes kubepods and the cgroups of the QoS classes, gives all pods
// together what the node has for them, and limits the daemons' cgroups. It comes
// before the first pod. The steps tell what was done, for events; the error is
// that of all steps. Lowering the memory of kubepods fails while the pods use
// more: try again after [EnforceAgain], evictions will help. A step that is Fatal
// will fail again: a cgroup that the configuration names does not exist, or the
// machine does not let us make ours.
func (m *Manager) Enforce(ctx context.Context, l NodeLimits) ([]Step, error) {
	var steps []Step
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("enforce the node's limits: %w", err)
	}
	if m.cfg.PerQOS {
		if err := m.prepareClasses(); err != nil {
			return []Step{{Message: err.Error(), Err: err, Fatal: true}}, err
		}
		step := Step{Message: "Updated Node Allocatable limit across pods"}
		if err := m.limitPods(m.podsLimits(l)); err != nil {
			step.Message = fmt.Sprintf("Failed to update Node Allocatable Limits %q: %v", []string(m.pods), err)
			step.Err = err
		}
		steps = append(steps, step)
	}
	for _, r := range l.reservedCgroups() {
		if err := m.limitDaemons(&r); err != nil {
			message := r.failed(err)
			steps = append(steps, Step{Message: message, Err: errors.New(message), Fatal: true})
			continue
		}
		steps = append(steps, Step{Message: r.done()})
	}
	var all []error
	for _, s := range steps {
		all = append(all, s.Err)
	}
	return steps, errors.Join(all...)
}

// prepareClasses makes kubepods and the classes below. Protection that an agent
// with another configuration left is taken back.
func (m *Manager) prepareClasses() error {
	for _, class := range classes() {
		l := Limits{}
		if class != corev1.PodQOSGuaranteed {
			l.HugePages = m.host.unbounded()
		}
		if !m.cfg.tiered() {
			l.Unified = share{protect: true}.limits(class).Unified
			if class == corev1.PodQOSBestEffort {
				l.Unified = nil
			}
		}
		if err := m.create(m.pods.class(class), l); err != nil {
			return fmt.Errorf("failed to create top level %s QOS cgroup : %w", class, err)
		}
	}
	m.adopt()
	m.settle()
	return nil
}

// podsLimits are those of kubepods. Huge pages are not limited there: pods are,
// one by one, and the kubelet does not either. All CPUs are named where nobody
// chose some: systemd takes away what it was not told of.
func (m *Manager) podsLimits(l NodeLimits) Limits {
	limits := l.podsLimits()
	limits.HugePages = m.host.unbounded()
	if limits.CPUs == "" && m.host.has("cpuset") {
		file := "cpuset.effective_cpus"
		if m.host.v2 {
			file = "cpuset.cpus.effective"
		}
		above := m.pods[:len(m.pods)-1]
		all, err := m.file(above, "cpuset", file)
		m.warn("cpuset", "Cannot see on which CPUs pods may run; the setting stays as it is", err)
		limits.CPUs = all
	}
	return limits
}

func (m *Manager) limitPods(l Limits) error {
	if l.Memory != nil {
		err := m.fits(m.pods, *l.Memory)
		if below := (*BelowUsageError)(nil); errors.As(err, &below) {
			return fmt.Errorf("the pods use %d bytes of memory, and are to have %d: waiting for evictions", below.Usage, below.Limit)
		}
		if err != nil {
			return err
		}
	}
	return m.set(m.pods, l)
}

func (m *Manager) limitDaemons(r *reserved) error {
	n := parseReserved(r.path, m.cfg.Driver)
	if len(n) == 0 {
		return fmt.Errorf("enforceNodeAllocatable wants it limited, but %sReservedCgroup is not set: set it, or take it out of enforceNodeAllocatable",
			strings.ToLower(r.title))
	}
	if missing := m.missing(n); missing != "" {
		return fmt.Errorf("the cgroup does not exist as a whole, %s: make it before the agent starts (%sReservedCgroup)", missing, strings.ToLower(r.title))
	}
	return m.set(n, r.limits(m.host.v2 && !m.cfg.NoMemoryQoS))
}
