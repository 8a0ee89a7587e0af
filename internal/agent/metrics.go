package agent

import (
	"context"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/image"
	"nodeagent.dev/nodeagent/internal/lifecycle"
	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/metrics"
	"nodeagent.dev/nodeagent/internal/node"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/resize"
)

// newMetrics returns what is shown at /metrics.
func (p *parts) newMetrics() *metrics.Metrics {
	version := 1
	if cgroups.IsCgroup2UnifiedMode() {
		version = 2
	}
	return metrics.New(metrics.Config{
		NodeName: p.cfg.NodeName, Version: p.version, Started: time.Now(), Booted: bootTime(), CgroupVersion: version,
		TieredMemory: version == 2 && p.cfg.Memory.TieredReservation && p.cfg.Features.Enabled("MemoryQoS"),
		Gates:        p.cfg.Features.Each, Views: p.Views,
	})
}

// bootTime is when the machine was booted; zero: it does not say.
func bootTime() time.Time {
	var up unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &up) != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(up.Nano()))
}

// hooks are what workers tell.
func (p *parts) hooks() lifecycle.Hooks {
	m := p.metrics
	return lifecycle.Hooks{
		Launched: func(of *corev1.Pod, refused string) {
			m.Pods.Launched(of, refused)
			m.Starts.Launched(of)
		},
		Preempted: m.Pods.Preempted,
		Operation: func(of *corev1.Pod, a plan.Action, took time.Duration, err error) {
			m.Pods.Operation(of, a, took, err)
			m.Resizes.Operation(a, took, err)
		},
		Reported: func(of pod.Spec, before, now *corev1.PodStatus, seen time.Time) {
			m.Pods.Reported(before, now)
			m.Starts.Reported(of, before, now, seen)
			m.Resizes.Reported(of.Pod, before, now)
		},
		Retired: func(uid types.UID) {
			m.Starts.Retired(uid)
			m.Probes.Retired(uid)
		},
		Panic: m.Pods.Panicked,
	}
}

// imageHooks are what pulls tell.
func (p *parts) imageHooks() image.Hooks {
	return image.Hooks{
		Ensured: p.metrics.Images.Ensured,
		Pulling: p.metrics.Starts.Pulling,
		Pulled: func(uid types.UID, took time.Duration, size int64) {
			p.metrics.Images.Pulled(took, size)
			p.metrics.Starts.Pulled(uid)
		},
	}
}

// countDesired takes in what the sources want.
func (p *parts) countDesired(d pod.Desired) {
	for _, changed := range p.metrics.Pods.Desired(d.Specs) {
		p.metrics.Resizes.Updated(changed[0], changed[1])
	}
}

// milestone is a step of the node on its way to be ready.
func (p *parts) milestone(m node.Milestone) {
	switch m {
	case node.Registering:
		p.metrics.Node.Registering()
	case node.Registered:
		p.metrics.Node.Registered()
	case node.Ready:
		p.metrics.Node.Ready()
	}
}

// showGiven adds what can be seen of what pods are given.
func (p *parts) showGiven(have given) error {
	p.metrics.Volumes.Types(have.volumes.TypeOf)
	return p.metrics.Register(metrics.Certificates(func() map[metrics.CertificateState]int {
		states := map[metrics.CertificateState]int{}
		for s, n := range have.certificates.States() {
			states[metrics.CertificateState(s)] += n
		}
		return states
	}))
}

// measuredObserver measures looks at pods.
type measuredObserver struct {
	lifecycle.Observer
	to *metrics.Metrics
}

// Observe implements lifecycle.Observer.
func (o measuredObserver) Observe(ctx context.Context, ref pod.Ref) (pod.Observation, error) {
	began := time.Now()
	got, err := o.Observer.Observe(ctx, ref)
	took := time.Since(began)
	o.to.Runtime.Looked(took)
	o.to.Pods.Synced(took)
	return got, err
}

// measuredSandboxes measures the making of sandboxes.
type measuredSandboxes struct {
	lifecycle.Sandboxes
	to *metrics.Runtime
}

// CreateSandbox implements lifecycle.Sandboxes.
func (s measuredSandboxes) CreateSandbox(ctx context.Context, req pod.SandboxRequest) (string, error) {
	began := time.Now()
	id, err := s.Sandboxes.CreateSandbox(ctx, req)
	s.to.Sandbox(req.Grant.RuntimeHandler, time.Since(began), err)
	return id, err
}

// measuredCgroups measures work on cgroups of pods.
type measuredCgroups struct {
	lifecycle.Cgroups
	to *metrics.Runtime
}

// Ensure implements lifecycle.Cgroups.
func (c measuredCgroups) Ensure(ctx context.Context, p *corev1.Pod) (pod.Grant, error) {
	began := time.Now()
	grant, err := c.Cgroups.Ensure(ctx, p)
	c.to.Cgroup("create", time.Since(began))
	return grant, err
}

// Remove implements lifecycle.Cgroups.
func (c measuredCgroups) Remove(ctx context.Context, ref pod.Ref) error {
	began := time.Now()
	err := c.Cgroups.Remove(ctx, ref)
	c.to.Cgroup("destroy", time.Since(began))
	return err
}

// resizedCgroups measures changes of cgroups' limits.
type resizedCgroups struct {
	resize.Cgroups
	to *metrics.Runtime
}

// Set implements resize.Cgroups.
func (c resizedCgroups) Set(ctx context.Context, p *corev1.Pod, part pod.Limit) error {
	began := time.Now()
	err := c.Cgroups.Set(ctx, p, part)
	c.to.Cgroup("update", time.Since(began))
	return err
}
