package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// minimumGrace is what every container gets to end by itself, as the kubelet
// gives it.
const minimumGrace = 2 * time.Second

// job is what an action needs to know; a snapshot that nobody changes.
type job struct {
	ref     pod.Ref
	pod     *corev1.Pod
	source  pod.SourceName
	volumes pod.Volumes
	// actuated is what the containers were given before.
	actuated pod.Actuation
	address  string
	ips      []string // of the newest sandbox
	deps     *equipment
}

// outcome is what an action found out.
type outcome struct {
	image   pod.Image
	volumes pod.Volumes
	// hookFailed is the instance whose postStart hook failed.
	hookFailed string
	// actuated is what the containers have after a resize, whether it went well.
	actuated pod.Actuation
}

// do performs one action. Every verb is idempotent.
func (j job) do(ctx context.Context, a plan.Action) (out outcome, err error) {
	switch a := a.(type) {
	case plan.MountVolumes:
		out.volumes, err = j.mountVolumes(ctx)
	case plan.RemoveVolumes:
		err = j.deps.Volumes.Unmount(ctx, j.ref)
	case plan.RemoveCgroup:
		err = j.deps.Cgroups.Remove(ctx, j.ref)
	case plan.RemoveLogs:
		if j.ref.Name != "" { // else its directory cannot be told; nothing was found there
			err = j.deps.Logs.RemovePod(j.ref)
		}
	case plan.EnsureImage:
		out.image, err = j.ensureImage(ctx, a.Use.Container)
	case plan.CreateSandbox:
		err = j.createSandbox(ctx, a)
	case plan.StopSandbox:
		err = j.deps.Sandboxes.StopSandbox(ctx, a.ID)
	case plan.RemoveSandbox:
		err = j.removeSandbox(ctx, a)
	case plan.StartContainer:
		out.hookFailed, err = j.startContainer(ctx, a)
	case plan.Resize:
		out.actuated, err = j.resize(ctx, a)
	case plan.RunPreStop:
		j.runPreStop(ctx, a)
	case plan.StopContainer:
		err = j.stopContainer(ctx, a)
	case plan.RemoveContainer:
		err = j.removeContainer(ctx, a)
	}
	return out, err
}

// event records an event about the pod or one of its containers.
func (j job) event(container string, warning bool, reason, format string, args ...any) {
	if j.pod != nil {
		j.deps.Events.Event(j.pod, container, warning, reason, fmt.Sprintf(format, args...))
	}
}

func (j job) mountVolumes(ctx context.Context) (pod.Volumes, error) {
	vols, err := j.deps.Volumes.Mount(ctx, j.pod)
	if err != nil {
		for _, f := range pod.Failures(err) {
			if ctx.Err() == nil {
				j.event("", true, pod.Reason(f, "FailedMount"), "%s", f)
			}
		}
		return nil, err
	}
	if vols == nil {
		vols = pod.Volumes{}
	}
	return vols, nil
}

func (j job) createSandbox(ctx context.Context, a plan.CreateSandbox) error {
	err := j.deps.Logs.EnsureDir(j.ref, "")
	var grant pod.Grant
	if err == nil {
		grant, err = j.deps.Cgroups.Ensure(ctx, j.pod)
	}
	if err == nil {
		_, err = j.deps.Sandboxes.CreateSandbox(ctx, pod.SandboxRequest{Pod: j.pod, Attempt: a.Attempt, Grant: grant})
	}
	if err != nil && ctx.Err() == nil {
		j.event("", true, "FailedCreatePodSandBox", "Failed to create pod sandbox: %s", err)
	}
	return err
}

func (j job) removeSandbox(ctx context.Context, a plan.RemoveSandbox) error {
	if a.Late {
		return j.deps.Sandboxes.removeLater(ctx, a.ID)
	}
	return j.deps.Sandboxes.RemoveSandbox(ctx, a.ID)
}

// startContainer makes and starts an instance and runs its postStart hook. If
// the hook fails it returns the instance, which must not go on.
func (j job) startContainer(ctx context.Context, a plan.StartContainer) (hookFailed string, err error) {
	name, id := a.Container.Name, a.Created
	if id == "" {
		if id, err = j.createContainer(ctx, a); err != nil {
			if ctx.Err() == nil {
				j.event(name, true, "Failed", "Error: %s", err)
			}
			return "", err
		}
		j.event(name, false, "Created", "Container created")
	}
	if err := j.deps.Containers.StartContainer(ctx, id); err != nil {
		if ctx.Err() == nil {
			j.event(name, true, "Failed", "Error: %s", err)
		}
		return "", err
	}
	j.event(name, false, "Started", "Container started")
	if err := j.deps.Logs.Link(j.ref, name, id, a.Attempt); err != nil {
		return "", err
	}
	if a.Container.Lifecycle == nil || a.Container.Lifecycle.PostStart == nil {
		return "", nil
	}
	if err := j.hook(ctx, a.Container, id, a.Container.Lifecycle.PostStart); err != nil && ctx.Err() == nil {
		// What the handler answered may be secret, and events are read by many.
		j.event(name, true, "FailedPostStartHook", "PostStartHook failed")
		return id, &pod.Failure{Reason: "PostStartHookError", Message: err.Error(), Err: err}
	}
	return "", ctx.Err()
}

// resize gives what runs the resources it has been allocated.
func (j job) resize(ctx context.Context, a plan.Resize) (pod.Actuation, error) {
	return j.deps.Resizer.Resize(ctx, pod.ResizeRequest{Pod: j.pod, SandboxID: a.SandboxID, Containers: a.Containers, Actuated: j.actuated})
}

func (j job) createContainer(ctx context.Context, a plan.StartContainer) (string, error) {
	name := a.Container.Name
	if a.Joins != "" && a.JoinID == "" {
		return "", &pod.Failure{Reason: pod.ReasonContainerConfig, Message: fmt.Sprintf("unable to find target container %s", a.Joins)}
	}
	if err := j.deps.Logs.EnsureDir(j.ref, name); err != nil {
		return "", fmt.Errorf("making the log directory of container %s: %w", name, err)
	}
	grant, err := j.deps.Cgroups.Ensure(ctx, j.pod)
	if err != nil {
		return "", err
	}
	req := pod.ContainerRequest{
		Sandbox:   pod.SandboxRequest{Pod: j.pod, Attempt: a.SandboxAttempt, Grant: grant},
		SandboxID: a.SandboxID,
		Container: a.Container,
		Attempt:   a.Attempt, CrashCount: a.CrashCount,
		Image: a.Image, VolumeImages: a.VolumeImages, Volumes: j.volumes, TargetID: a.JoinID,
	}
	if err := j.deps.Givens.Give(ctx, &req, j.ips); err != nil {
		return "", err
	}
	return j.deps.Containers.CreateContainer(ctx, req)
}

// killing tells users that a container is about to be ended, and why.
func (j job) killing(e plan.Ending) {
	j.event(e.Name, false, "Killing", "%s", cmp.Or(e.Why, "Stopping container "+e.Name))
}

// runPreStop runs a preStop hook for as long as its container has. Its failure
// is told and changes nothing.
func (j job) runPreStop(ctx context.Context, a plan.RunPreStop) {
	j.killing(a.Ending)
	ctx, cancel := context.WithDeadline(ctx, a.Deadline)
	defer cancel()
	if err := j.hook(ctx, a.Container, a.ID, a.Handler); err != nil && ctx.Err() == nil {
		j.event(a.Name, true, "FailedPreStopHook", "PreStopHook failed")
	}
}

func (j job) hook(ctx context.Context, c *corev1.Container, id string, handler *corev1.LifecycleHandler) error {
	p := j.pod
	if p == nil {
		p = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: j.ref.Name, Namespace: j.ref.Namespace, UID: j.ref.UID}}
	}
	return j.deps.Handlers.Run(ctx, pod.HookTarget{Pod: p, Container: c, ContainerID: id, Handler: handler, IP: j.address})
}

func (j job) stopContainer(ctx context.Context, a plan.StopContainer) error {
	if !a.Quiet {
		j.killing(a.Ending)
	}
	left := max(time.Until(a.Deadline), minimumGrace)
	// The runtime counts whole seconds; never cut a started one short.
	grace := time.Duration(math.Ceil(left.Seconds())) * time.Second
	return j.deps.Containers.StopContainer(ctx, a.ID, grace)
}

func (j job) removeContainer(ctx context.Context, a plan.RemoveContainer) error {
	if err := j.deps.Containers.RemoveContainer(ctx, a.ID); err != nil || a.KeepLog {
		return err
	}
	return j.deps.Logs.RemoveContainer(j.ref, a.Name, a.ID, a.Attempt)
}

// ensureImage makes the image present and tells users how, in the kubelet's
// words.
func (j job) ensureImage(ctx context.Context, c *corev1.Container) (pod.Image, error) {
	req := pod.ImageRequest{Pod: j.pod, Container: c, Pulling: func() {
		j.event(c.Name, false, "Pulling", "Pulling image %q", c.Image)
	}}
	res, err := j.deps.Images.Ensure(ctx, req)
	if err != nil {
		if ctx.Err() != nil {
			return pod.Image{}, err
		}
		reason, message := pod.ReasonOf(err, pod.ReasonPull)
		if f, ok := errors.AsType[*pod.Failure](err); ok && pod.PullFailed(reason) && f.Err != nil {
			message = f.Err.Error()
		}
		if pod.PullFailed(reason) {
			message = fmt.Sprintf("Failed to pull image %q: %s", c.Image, message)
		}
		j.event(c.Name, true, eventReason(reason), "%s", message)
		j.event(c.Name, true, "Failed", "Error: %s", reason)
		return pod.Image{}, err
	}
	if res.Pulled {
		j.event(c.Name, false, "Pulled", "Successfully pulled image %q in %s (%s including waiting). Image size: %d bytes.",
			c.Image, res.Took.Truncate(time.Millisecond), res.Waited.Truncate(time.Millisecond), res.Size)
	} else {
		j.event(c.Name, false, "Pulled", "Container image %q already present on machine and can be accessed by the pod", c.Image)
	}
	return res.Image, nil
}

// eventReason is the event's reason for an image failure.
func eventReason(failure string) string {
	switch failure {
	case "InvalidImageName", "ImageInspectError":
		return "InspectFailed"
	case "ErrImageNeverPull":
		return failure
	}
	return "Failed"
}

// fallbackReason is the word for a failure that brings none of its own.
func fallbackReason(verb string) string {
	switch verb {
	case "EnsureImage":
		return "ErrImagePull"
	case "CreateSandbox":
		return "CreatePodSandboxError"
	case "StartContainer":
		return "CreateContainerError"
	case "RunPreStop", "StopContainer":
		return "KillContainerError"
	case "StopSandbox", "RemoveSandbox":
		return "KillPodSandboxError"
	case "RemoveContainer":
		return "RemoveContainerError"
	case pod.VerbResize:
		return "Error"
	case "MountVolumes", "RemoveVolumes":
		return "FailedMount"
	}
	return "FailedSync"
}

// actionID tells two actions of one verb on one target apart. A sandbox that
// has to be made again at once is the same failure, whatever its number.
func actionID(a plan.Action) string {
	switch a := a.(type) {
	case plan.StartContainer:
		return strconv.Itoa(a.Attempt)
	case plan.RunPreStop:
		return a.ID
	case plan.StopContainer:
		return a.ID
	case plan.StopSandbox:
		return a.ID
	case plan.RemoveSandbox:
		return a.ID
	case plan.RemoveContainer:
		return a.ID
	case plan.Resize, plan.EnsureImage, plan.CreateSandbox, plan.MountVolumes, plan.RemoveVolumes, plan.RemoveCgroup, plan.RemoveLogs:
	}
	return ""
}

// phaseName names a start-up phase for people.
func phaseName(op *operation) string {
	switch a := op.action.(type) {
	case plan.EnsureImage:
		return "image " + a.Use.Key
	case plan.StartContainer:
		return "start " + a.Container.Name
	case plan.CreateSandbox:
		return "sandbox"
	case plan.MountVolumes:
		return "volumes"
	case plan.Resize, plan.StopSandbox, plan.RemoveSandbox, plan.RunPreStop, plan.StopContainer, plan.RemoveContainer, plan.RemoveVolumes, plan.RemoveCgroup, plan.RemoveLogs:
	}
	return op.Verb
}
