package lifecycle

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Observe implements Observer.
func (w *world) Observe(ctx context.Context, ref pod.Ref) (pod.Observation, error) {
	if _, err := w.enter(ctx, "Observe", string(ref.UID)); err != nil {
		return pod.Observation{}, err
	}
	time.Sleep(w.observing)
	w.mu.Lock()
	defer w.mu.Unlock()
	var o pod.Observation
	for _, s := range w.sandboxes {
		if s.uid == ref.UID {
			o.Sandboxes = append(o.Sandboxes, s.it)
		}
	}
	for _, c := range w.containers {
		if c.uid == ref.UID {
			o.Containers = append(o.Containers, c.it)
		}
	}
	o.Sort()
	return o, nil
}

// Run implements Handlers.
func (w *world) Run(ctx context.Context, t pod.HookTarget) error {
	what := "preStop"
	if l := t.Container.Lifecycle; l != nil && t.Handler == l.PostStart {
		what = "postStart"
	}
	_, err := w.enter(ctx, "Hook", what+" "+t.Container.Name)
	return err
}

// Watch implements Probes.
func (w *world) Watch(p *corev1.Pod, targets []pod.ProbeTarget) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.probes[p.UID] = targets
}

// Verdicts implements Probes.
func (w *world) Verdicts(uid types.UID) map[pod.ProbeKey]pod.Verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := map[pod.ProbeKey]pod.Verdict{}
	for _, t := range w.probes[uid] {
		if v, ok := w.verdict[t.ProbeKey]; ok {
			found[t.ProbeKey] = v
		}
	}
	return found
}

// answer is the verdict of a probe that is watched, and its announcement.
func (w *world) answer(uid types.UID, kind pod.ProbeKind, v pod.Verdict) {
	w.mu.Lock()
	for _, t := range w.probes[uid] {
		if t.Kind == kind {
			w.verdict[t.ProbeKey] = v
		}
	}
	w.mu.Unlock()
	w.sup.Nudge(uid)
}

// probed names the kinds of probes that are watched for a pod.
func (w *world) probed(uid types.UID) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var kinds []string
	for _, t := range w.probes[uid] {
		kinds = append(kinds, t.Kind.String())
	}
	return strings.Join(kinds, " ")
}

type givens struct{}

// Give implements Givens.
func (givens) Give(context.Context, *pod.ContainerRequest, []string) error { return nil }

// Forget implements Givens.
func (givens) Forget(types.UID) {}

// Ended implements Observer.
func (w *world) Ended(_ types.UID, id string) (pod.Container, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k, ok := w.told[id]
	return k, ok
}

// Forget implements Observer.
func (w *world) Forget(types.UID) {}

// CreateSandbox implements Sandboxes.
func (w *world) CreateSandbox(ctx context.Context, req pod.SandboxRequest) (string, error) {
	if skip, err := w.enter(ctx, "CreateSandbox", req.Pod.Name); skip {
		return "", err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	id := w.id("s")
	w.sandboxes[id] = &owned[pod.Sandbox]{req.Pod.UID, pod.Sandbox{ID: id, Attempt: req.Attempt, Ready: true, CreatedAt: time.Now(), IPs: []string{"10.1.0.9"}}}
	return id, nil
}

// StopSandbox implements Sandboxes.
func (w *world) StopSandbox(ctx context.Context, id string) error {
	if skip, err := w.enter(ctx, "StopSandbox", id); skip {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.sandboxes[id]; s != nil {
		s.it.Ready = false
	}
	return nil
}

// RemoveSandbox implements Sandboxes.
func (w *world) RemoveSandbox(ctx context.Context, id string) error {
	if skip, err := w.enter(ctx, "RemoveSandbox", id); skip {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.sandboxes, id)
	for cid, c := range w.containers {
		if c.it.SandboxID == id {
			delete(w.containers, cid)
		}
	}
	return nil
}

// CreateContainer implements Containers.
func (w *world) CreateContainer(ctx context.Context, req pod.ContainerRequest) (string, error) {
	name := req.Container.Name
	if skip, err := w.enter(ctx, "CreateContainer", name); skip {
		return "none", err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	id := w.id("c")
	w.containers[id] = &owned[pod.Container]{req.Sandbox.Pod.UID, pod.Container{ID: id, Name: name, SandboxID: req.SandboxID,
		Attempt: req.Attempt, CrashCount: req.CrashCount, State: pod.ContainerCreated, CreatedAt: time.Now(), Image: req.Image.Name}}
	return id, nil
}

// StartContainer implements Containers.
func (w *world) StartContainer(ctx context.Context, id string) error {
	if skip, err := w.enter(ctx, "StartContainer", id); skip {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.containers[id]; c != nil {
		c.it.State, c.it.StartedAt = pod.ContainerRunning, time.Now()
	}
	return nil
}

// StopContainer implements Containers.
func (w *world) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	if skip, err := w.enter(ctx, "StopContainer", fmt.Sprintf("%s %s", id, grace)); skip {
		return err
	}
	w.exit(id, 137)
	return nil
}

// RemoveContainer implements Containers.
func (w *world) RemoveContainer(ctx context.Context, id string) error {
	if skip, err := w.enter(ctx, "RemoveContainer", id); skip {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.containers, id)
	return nil
}

// Mount implements Volumes.
func (w *world) Mount(ctx context.Context, p *corev1.Pod) (pod.Volumes, error) {
	_, err := w.enter(ctx, "Mount", p.Name)
	return pod.Volumes{}, err
}

// Follow implements Volumes.
func (w *world) Follow(p *corev1.Pod) {
	_, _ = w.enter(w.t.Context(), "Follow", p.Name)
}

// Unmount implements Volumes.
func (w *world) Unmount(ctx context.Context, ref pod.Ref) error {
	_, err := w.enter(ctx, "Unmount", string(ref.UID))
	return err
}

// Event implements Recorder.
func (w *world) Event(_ *corev1.Pod, container string, _ bool, reason, _ string) {
	_, _ = w.enter(w.t.Context(), "Event", reason+" "+container)
}

type images struct{ *world }

// Ensure implements Images.
func (w images) Ensure(ctx context.Context, req pod.ImageRequest) (pod.ImageResult, error) {
	_, err := w.enter(ctx, "Pull", req.Container.Name)
	return pod.ImageResult{Image: pod.Image{Name: req.Container.Image, Ref: "sha"}}, err
}

type cgroups struct{ *world }

// Ensure implements Cgroups.
func (w cgroups) Ensure(context.Context, *corev1.Pod) (pod.Grant, error) { return pod.Grant{}, nil }

// Remove implements Cgroups.
func (w cgroups) Remove(ctx context.Context, ref pod.Ref) error {
	_, err := w.enter(ctx, "RemoveCgroup", string(ref.UID))
	return err
}

type logs struct{ *world }

// EnsureDir implements Logs.
func (logs) EnsureDir(pod.Ref, string) error { return nil }

// Link implements Logs.
func (logs) Link(pod.Ref, string, string, int) error { return nil }

// RemoveContainer implements Logs.
func (logs) RemoveContainer(pod.Ref, string, string, int) error { return nil }

// RemovePod implements Logs.
func (w logs) RemovePod(ref pod.Ref) error {
	_, err := w.enter(w.t.Context(), "RemoveLogs", string(ref.UID))
	return err
}

type sink struct{ *world }

// Publish implements StatusSink.
func (w sink) Publish(p *corev1.Pod, st corev1.PodStatus, finished bool) {
	if _, err := w.enter(w.t.Context(), "Publish", string(st.Phase)); err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.statuses[p.UID] = append(w.statuses[p.UID], st)
	w.finished[p.UID] = w.finished[p.UID] || finished
	if finished {
		w.handed[p.UID]++
	}
}

// Forget implements StatusSink.
func (sink) Forget(types.UID) {}
