package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/podstatus"
)

// world is a runtime, a disk and an API server small enough to be a value: it
// applies plans at once and checks that nothing is done that must never be.
type world struct {
	in    pod.Input
	api   corev1.PodStatus
	held  map[pod.Target]plan.Action // operations that do not end by themselves
	hold  map[pod.Target]bool        // targets whose next operation is held
	wrong []string
	next  int
	last  plan.Plan
	// what the world really is, whatever the agent knows
	volumes, cgroup bool
	started         map[string]bool // container name + attempt
	hooked          map[string]bool // instances whose preStop hook was begun, by ID
	// given is the CPU that each instance has, in thousandths.
	given       map[string]int64
	stopped     bool
	minDeadline time.Time
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newWorld(p *corev1.Pod) *world {
	w := &world{held: map[pod.Target]plan.Action{}, hold: map[pod.Target]bool{}, started: map[string]bool{}, hooked: map[string]bool{}, given: map[string]int64{}}
	w.in = pod.Input{
		Now: epoch, Ref: pod.RefOf(p), Spec: pod.Spec{Pod: p, Source: pod.SourceAPI},
		Node: pod.Node{Name: "n", HostIPs: []string{"192.0.2.1"}, RuntimeName: "fake"},
	}
	w.forget()
	return w
}

// forget is what kill -9 of the agent does: what it held in memory is gone,
// what the runtime, the disk and the API hold is not.
func (w *world) forget() {
	w.in.Attempts = map[pod.Work]pod.Attempt{}
	w.in.Running = map[pod.Target]pod.Operation{}
	w.in.Images = map[string]pod.Image{}
	w.in.Instances, w.in.EndBy = map[string]pod.Instance{}, time.Time{}
	clear(w.hooked) // the next agent cannot know
	w.in.Volumes, w.in.Removed = nil, pod.Removed{}
	w.in.Prior = w.api
	w.in.Observed.At = w.in.Now
	for t, a := range w.held { // the effect of what was under way may still come
		delete(w.held, t)
		w.doubt(a)
		w.effect(a)
	}
}

// decide plans and publishes, as the worker does.
func (w *world) decide() plan.Plan {
	w.in.Observed.Sort()
	w.in.Observed.At = w.in.Now
	w.last = plan.Next(&w.in)
	if w.last.Stop != nil {
		w.in.Stop, w.stopped = w.in.Stop.Merge(w.last.Stop), true
		w.minDeadline = w.in.Stop.Deadline
		w.last = plan.Next(&w.in)
	}
	if w.in.EndBy.IsZero() {
		w.in.EndBy = w.last.EndBy
	}
	targets := map[pod.Target]bool{}
	for _, a := range w.last.Actions {
		if targets[a.Target()] {
			w.bad("one plan has two actions on %s", a.Target())
		}
		targets[a.Target()] = true
		w.checkStart(a)
	}
	w.in.Prior = podstatus.Compute(&w.in)
	w.publish()
	return w.last
}

func (w *world) publish() {
	before, after := w.api.Phase, w.in.Prior.Phase
	if pod.Terminal(before) && after != before {
		w.bad("phase went from %s to %s", before, after)
	}
	if (w.last.Done || w.last.Released) && !pod.Terminal(after) {
		w.bad("the object of a pod may go in phase %s", after)
	}
	if pod.Terminal(after) && w.in.Observed.AnyLive() {
		w.bad("phase %s while a container runs", after)
	}
	for i := range w.api.ContainerStatuses {
		a := &w.api.ContainerStatuses[i]
		if b := w.in.PriorContainer(a.Name); b != nil && b.RestartCount < a.RestartCount {
			w.bad("restart count of %s went from %d to %d", a.Name, a.RestartCount, b.RestartCount)
		}
	}
	w.api = w.in.Prior
}

// settle decides and applies until there is nothing left to do now.
func (w *world) settle(trace func(plan.Plan)) {
	for range 200 {
		p := w.decide()
		if trace != nil {
			trace(p)
		}
		for _, t := range p.Cancel {
			w.cancel(t)
		}
		for _, a := range p.Actions {
			w.start(a)
		}
		if len(p.Actions) == 0 && len(p.Cancel) == 0 {
			return
		}
	}
	w.bad("no fixed point after 200 rounds")
}

// start begins an action and, unless its target is held, ends it.
func (w *world) start(a plan.Action) {
	t := a.Target()
	if _, busy := w.held[t]; busy {
		w.bad("%s of %s while another operation runs on it", a.Verb(), t)
		return
	}
	op := pod.Operation{Target: t, Verb: a.Verb(), Since: w.in.Now, Constructive: plan.Constructive(a)}
	switch a := a.(type) {
	case plan.RunPreStop:
		if w.hooked[a.ID] {
			w.bad("second preStop of %s", a.Name)
		}
		w.hooked[a.ID] = true
		op.Deadline = w.doom(a.Ending, true)
	case plan.StopContainer:
		w.checkStop(a)
		op.Deadline = w.doom(a.Ending, false)
	case plan.StartContainer:
		op.Attempt = a.Attempt
		w.in.Actuated = w.in.Actuated.With(a.Container.Name, a.Container.Resources)
	default:
	}
	w.in.Running[t], w.held[t] = op, a
	if !w.hold[t] {
		w.end(t, nil)
	}
}

// end finishes a held operation; err leaves an attempt. A cancelled operation
// has no effect here, a failed one may have (see lose).
func (w *world) end(t pod.Target, err error) {
	a := w.held[t]
	delete(w.held, t)
	delete(w.in.Running, t)
	delete(w.hold, t)
	if a == nil {
		return
	}
	work := pod.Work{Target: t, Verb: a.Verb()}
	if err != nil {
		w.doubt(a)
		w.in.Attempts[work] = pod.Attempt{Reason: "Error", Message: err.Error(), Count: w.in.Attempts[work].Count + 1, At: w.in.Now}
		if s, ok := a.(plan.StartContainer); ok {
			delete(w.in.Images, s.Container.Name)
		}
		return
	}
	delete(w.in.Attempts, work)
	w.effect(a)
	w.learn(a)
	if s, ok := a.(plan.StartContainer); ok && !w.up(s.SandboxID) {
		w.in.Attempts[work] = pod.Attempt{Reason: "Error", Message: "sandbox is gone", Count: 1, At: w.in.Now}
	}
}

// cancel ends a held operation that the plan no longer wants. It leaves no
// attempt: nothing went wrong.
func (w *world) cancel(t pod.Target) {
	work := w.in.Running[t].Work()
	w.end(t, fmt.Errorf("cancelled"))
	delete(w.in.Attempts, work)
}

// failDirty ends a held CreateSandbox as containerd does when its network
// cannot be set up: with an error and a sandbox that is not ready.
func (w *world) failDirty() {
	if a, ok := w.held[pod.TargetSandbox].(plan.CreateSandbox); ok {
		w.effect(a)
		w.in.Observed.Sandboxes[len(w.in.Observed.Sandboxes)-1].Ready = false
	}
	w.end(pod.TargetSandbox, fmt.Errorf("network setup failed"))
}

// lose ends a held operation with its effect done and its reply lost.
func (w *world) lose(t pod.Target) {
	if a := w.held[t]; a != nil {
		w.effect(a)
	}
	w.end(t, fmt.Errorf("lost reply"))
}

// learn is what the agent takes from a reply beside what it can observe.
func (w *world) learn(a plan.Action) {
	switch a := a.(type) {
	case plan.EnsureImage:
		w.in.Images[a.Use.Key] = pod.Image{Name: a.Use.Container.Image, Ref: "sha256:" + a.Use.Container.Image}
	case plan.MountVolumes:
		w.in.Volumes, w.in.Removed.Volumes = pod.Volumes{}, false
	case plan.RemoveVolumes:
		w.in.Volumes, w.in.Removed.Volumes = nil, true
	case plan.RemoveCgroup:
		w.in.Removed.Cgroup = true
	case plan.RemoveLogs:
		w.in.Removed.Logs = true
	case plan.StartContainer:
		delete(w.in.Images, a.Container.Name)
		for volume := range a.VolumeImages {
			delete(w.in.Images, pod.VolumeImageKey(volume))
		}
	case plan.Resize:
		for _, c := range a.Containers {
			w.in.Actuated = w.in.Actuated.With(c.Container.Name, c.Container.Resources)
		}
	case plan.CreateSandbox:
		w.in.Removed.Cgroup = false
	case plan.StopSandbox, plan.RemoveSandbox, plan.RunPreStop, plan.StopContainer, plan.RemoveContainer:
	}
}

// doubt is what is left of a resize that nobody knows the end of.
func (w *world) doubt(a plan.Action) {
	if r, ok := a.(plan.Resize); ok {
		w.in.Actuated = w.in.Actuated.Doubting(r.Containers...)
	}
}

// cpuOf is the CPU a container asks for, in thousandths.
func cpuOf(c *corev1.Container) int64 { return c.Resources.Requests.Cpu().MilliValue() }

// resize lets the pod be allocated another CPU for a container.
func (w *world) resize(name string, milliCPU int64) {
	w.in.Pod = w.in.Pod.DeepCopy()
	if c, k := pod.Find(w.in.Pod, name); c != nil && k != pod.KindEphemeral {
		c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(milliCPU, resource.DecimalSI)}
	}
}

// effect changes the world.
func (w *world) effect(a plan.Action) {
	switch a := a.(type) {
	case plan.EnsureImage, plan.RunPreStop:
	case plan.Resize:
		for _, c := range a.Containers {
			if c.Restarts() {
				w.bad("%s was resized in place", c.Container.Name)
			}
			w.given[c.ID] = cpuOf(c.Container)
		}
	case plan.MountVolumes:
		w.volumes = true
	case plan.RemoveVolumes:
		if w.in.Observed.AnyLive() {
			w.bad("volumes removed under a running container")
		}
		w.volumes = false
	case plan.RemoveCgroup:
		w.cgroup = false
	case plan.RemoveLogs:
	case plan.CreateSandbox:
		w.cgroup = true
		w.in.Observed.Sandboxes = append(w.in.Observed.Sandboxes, pod.Sandbox{
			ID: w.id("s"), Attempt: a.Attempt, Ready: true, CreatedAt: w.in.Now, IPs: []string{"10.0.0." + fmt.Sprint(a.Attempt+1)}})
	case plan.StopSandbox:
		w.sandbox(a.ID, func(s *pod.Sandbox) { s.Ready = false })
	case plan.RemoveSandbox:
		w.removeSandbox(a.ID)
	case plan.StartContainer:
		w.startContainer(a)
	case plan.StopContainer:
		w.exit(a.ID, 143)
	case plan.RemoveContainer:
		w.in.Observed.Containers = slices.DeleteFunc(w.in.Observed.Containers, func(c pod.Container) bool {
			if c.ID == a.ID && c.Live() {
				w.bad("container %s removed while it runs", c.Name)
			}
			return c.ID == a.ID
		})
	}
}

func (w *world) up(sandbox string) (up bool) {
	w.sandbox(sandbox, func(s *pod.Sandbox) { up = s.Ready })
	return up
}

// startContainer is what the runtime does; it refuses a sandbox that is gone.
func (w *world) startContainer(a plan.StartContainer) {
	if !w.up(a.SandboxID) {
		return
	}
	name := a.Container.Name
	for _, c := range w.in.Observed.Containers {
		if c.Name == name && c.Live() {
			w.bad("second live instance of %s", name)
		}
	}
	key := fmt.Sprintf("%s/%d", name, a.Attempt)
	if w.started[key] {
		w.bad("%s started twice", key)
	}
	w.started[key] = true
	if a.Created != "" {
		w.container(a.Created, func(c *pod.Container) { c.State, c.StartedAt = pod.ContainerRunning, w.in.Now })
		return
	}
	id := w.id("c")
	w.given[id] = cpuOf(a.Container)
	w.in.Observed.Containers = append(w.in.Observed.Containers, pod.Container{
		ID: id, Name: name, SandboxID: a.SandboxID, Attempt: a.Attempt, CrashCount: a.CrashCount, Hash: w.in.Hashes[name],
		State: pod.ContainerRunning, CreatedAt: w.in.Now, StartedAt: w.in.Now, Image: a.Image.Name, ImageID: a.Image.Ref})
}

func (w *world) exit(id string, code int32) {
	w.container(id, func(c *pod.Container) {
		if c.Live() {
			c.State, c.ExitCode, c.FinishedAt, c.Reason = pod.ContainerExited, code, w.in.Now, "Error"
			if code == 0 {
				c.Reason = "Completed"
			}
		}
	})
}

func (w *world) removeSandbox(id string) {
	w.in.Observed.Sandboxes = slices.DeleteFunc(w.in.Observed.Sandboxes, func(s pod.Sandbox) bool { return s.ID == id })
	w.in.Observed.Containers = slices.DeleteFunc(w.in.Observed.Containers, func(c pod.Container) bool {
		if c.SandboxID == id && c.Live() {
			w.bad("sandbox of %s removed while it runs", c.Name)
		}
		return c.SandboxID == id
	})
}

func (w *world) sandbox(id string, f func(*pod.Sandbox)) {
	for i := range w.in.Observed.Sandboxes {
		if w.in.Observed.Sandboxes[i].ID == id {
			f(&w.in.Observed.Sandboxes[i])
		}
	}
}

func (w *world) container(id string, f func(*pod.Container)) {
	for i := range w.in.Observed.Containers {
		if w.in.Observed.Containers[i].ID == id {
			f(&w.in.Observed.Containers[i])
		}
	}
}

// stop asks for the pod's end within grace.
func (w *world) stop(grace time.Duration) {
	s := &pod.Stop{Deadline: w.in.Now.Add(grace), Delete: true}
	if !w.stopped || s.Deadline.Before(w.minDeadline) {
		w.minDeadline = s.Deadline
	}
	w.in.Stop, w.stopped = w.in.Stop.Merge(s), true
}

func (w *world) id(prefix string) string {
	w.next++
	return fmt.Sprintf("%s%d", prefix, w.next)
}

func (w *world) bad(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// simplePod returns a pod with one container for each name.
func simplePod(policy corev1.RestartPolicy, names ...string) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: policy}}
	p.Name, p.Namespace, p.UID = "p", "default", types.UID("u-"+strings.Join(names, "-"))
	for _, n := range names {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: n, Image: "img-" + n})
	}
	return p
}
