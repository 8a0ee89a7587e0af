package sim

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/cri"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/test/fakecri"
)

// errDead is what a dead agent's calls come to; nobody is there to read it.
var errDead = errors.New("the agent is dead")

// gate stands before every effect. It counts them, kills the agent at the one
// it was told to, and lets nothing through after that.
type gate struct {
	mu      sync.Mutex
	n       int
	crashAt int
	after   bool
	dead    bool
	die     func()
}

// pass performs one effect, or not.
func (g *gate) pass(effect func() error) error {
	g.mu.Lock()
	if g.dead {
		g.mu.Unlock()
		return errDead
	}
	g.n++
	crash := g.n == g.crashAt
	if crash && !g.after {
		g.mu.Unlock()
		g.kill()
		return errDead
	}
	g.mu.Unlock()
	err := effect()
	if crash {
		g.kill()
		return errDead
	}
	return err
}

func (g *gate) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.dead {
		g.dead = true
		g.die()
	}
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.n
}

type gatedSandboxes struct {
	g *gate
	c *cri.Client
}

func (s gatedSandboxes) CreateSandbox(ctx context.Context, req pod.SandboxRequest) (id string, err error) {
	err = s.g.pass(func() error { id, err = s.c.CreateSandbox(ctx, req); return err })
	return id, err
}

func (s gatedSandboxes) StopSandbox(ctx context.Context, id string) error {
	return s.g.pass(func() error { return s.c.StopSandbox(ctx, id) })
}

func (s gatedSandboxes) RemoveSandbox(ctx context.Context, id string) error {
	return s.g.pass(func() error { return s.c.RemoveSandbox(ctx, id) })
}

type gatedContainers struct {
	g *gate
	c *cri.Client
	r *fakecri.Server
	a *API
}

func (s gatedContainers) CreateContainer(ctx context.Context, req pod.ContainerRequest) (id string, err error) {
	err = s.g.pass(func() error {
		if why := tooEarly(req, s.r.Snapshot()); why != "" {
			s.a.accuse(why)
		}
		id, err = s.c.CreateContainer(ctx, req)
		return err
	})
	return id, err
}

func (s gatedContainers) StartContainer(ctx context.Context, id string) error {
	return s.g.pass(func() error { return s.c.StartContainer(ctx, id) })
}

func (s gatedContainers) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	return s.g.pass(func() error { return s.c.StopContainer(ctx, id, grace) })
}

func (s gatedContainers) RemoveContainer(ctx context.Context, id string) error {
	return s.g.pass(func() error { return s.c.RemoveContainer(ctx, id) })
}

// gatedExec runs hooks and probes. Hooks are effects; a probe is none.
type gatedExec struct {
	g *gate
	c *cri.Client
	h *hooks
}

func (s gatedExec) ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (res pod.ExecResult, err error) {
	if command[0] == probeCommand {
		return s.c.ExecSync(ctx, id, command, timeout)
	}
	err = s.g.pass(func() error {
		s.h.ran(id, command[0])
		res, err = s.c.ExecSync(ctx, id, command, timeout)
		return err
	})
	return res, err
}

type noGivens struct{}

func (noGivens) Give(context.Context, *pod.ContainerRequest, []string) error { return nil }

func (noGivens) Forget(types.UID) {}

type gatedImages struct{ g *gate }

func (s gatedImages) Ensure(_ context.Context, req pod.ImageRequest) (res pod.ImageResult, err error) {
	name := req.Container.Image
	err = s.g.pass(func() error {
		res = pod.ImageResult{Image: pod.Image{Name: name, Ref: name, UserSpecified: name}}
		return nil
	})
	return res, err
}

type gatedVolumes struct {
	g *gate
	d *Disk
}

func (s gatedVolumes) Mount(_ context.Context, p *corev1.Pod) (pod.Volumes, error) {
	return pod.Volumes{}, s.g.pass(func() error { s.d.set(s.d.volumes, p.UID, true); return nil })
}

func (gatedVolumes) Follow(*corev1.Pod) {}

func (s gatedVolumes) Unmount(_ context.Context, ref pod.Ref) error {
	return s.g.pass(func() error { s.d.set(s.d.volumes, ref.UID, false); return nil })
}

type gatedCgroups struct {
	g *gate
	d *Disk
}

func (s gatedCgroups) Ensure(_ context.Context, p *corev1.Pod) (pod.Grant, error) {
	return pod.Grant{}, s.g.pass(func() error { s.d.set(s.d.cgroups, p.UID, true); return nil })
}

func (s gatedCgroups) Remove(_ context.Context, ref pod.Ref) error {
	return s.g.pass(func() error { s.d.set(s.d.cgroups, ref.UID, false); return nil })
}

type gatedLogs struct {
	g *gate
	d *Disk
}

func (s gatedLogs) EnsureDir(ref pod.Ref, _ string) error {
	return s.g.pass(func() error { s.d.set(s.d.logs, ref.UID, true); return nil })
}

func (s gatedLogs) Link(pod.Ref, string, string, int) error {
	return s.g.pass(func() error { return nil })
}

func (s gatedLogs) RemoveContainer(pod.Ref, string, string, int) error {
	return s.g.pass(func() error { return nil })
}

func (s gatedLogs) RemovePod(ref pod.Ref) error {
	return s.g.pass(func() error { s.d.set(s.d.logs, ref.UID, false); return nil })
}

type gatedStatus struct {
	g *gate
	a *API
}

func (s gatedStatus) Publish(p *corev1.Pod, st corev1.PodStatus, finished bool) {
	_ = s.g.pass(func() error { s.a.publish(p, st, finished); return nil })
}

func (gatedStatus) Forget(types.UID) {}

type noEvents struct{}

func (noEvents) Event(*corev1.Pod, string, bool, string, string) {}

// Disk is what outlives the agent on the node beside the runtime.
type Disk struct {
	mu                     sync.Mutex
	volumes, cgroups, logs map[types.UID]bool
}

func newDisk() *Disk {
	return &Disk{volumes: map[types.UID]bool{}, cgroups: map[types.UID]bool{}, logs: map[types.UID]bool{}}
}

func (d *Disk) set(m map[types.UID]bool, uid types.UID, there bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if there {
		m[uid] = true
	} else {
		delete(m, uid)
	}
}

// pods names every pod with something on the disk.
func (d *Disk) pods() []pod.Ref {
	d.mu.Lock()
	defer d.mu.Unlock()
	var refs []pod.Ref
	for _, m := range []map[types.UID]bool{d.volumes, d.cgroups, d.logs} {
		for uid := range m {
			refs = append(refs, pod.Ref{UID: uid, Namespace: "default", Name: string(uid)})
		}
	}
	return refs
}

func (d *Disk) leaks(known map[string]bool) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []string
	for what, m := range map[string]map[types.UID]bool{"volumes": d.volumes, "cgroup": d.cgroups, "logs": d.logs} {
		for uid := range m {
			if !known[string(uid)] {
				list = append(list, what+" of "+string(uid))
			}
		}
	}
	return list
}

// allRoom takes every pod as it is.
type allRoom struct{}

func (allRoom) Admit(spec pod.Spec, _ []*corev1.Pod) pod.Admission {
	return pod.Admission{Pod: spec.Pod}
}

func (allRoom) Resize(spec pod.Spec, _ pod.Resize, _ func() []*corev1.Pod) pod.Admission {
	return pod.Admission{Pod: spec.Pod}
}

func (allRoom) Actuated(types.UID) pod.Actuation { return pod.Actuation{} }

func (allRoom) SetActuated(types.UID, pod.Actuation, bool) {}

func (allRoom) Forget(types.UID) {}

func (allRoom) Retain(func(types.UID) bool) {}
