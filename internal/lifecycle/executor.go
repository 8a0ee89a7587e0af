package lifecycle

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

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
	deps    *Deps
}

// outcome is what an action found out.
type outcome struct {
	image   pod.Image
	volumes pod.Volumes
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
		out.image, err = j.ensureImage(ctx, a.Container)
	case plan.CreateSandbox:
		err = j.createSandbox(ctx, a)
	case plan.StopSandbox:
		err = j.deps.Sandboxes.StopSandbox(ctx, a.ID)
	case plan.RemoveSandbox:
		err = j.deps.Sandboxes.RemoveSandbox(ctx, a.ID)
	case plan.StartContainer:
		err = j.startContainer(ctx, a)
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
		if ctx.Err() == nil {
			j.event("", true, "FailedMount", "%s", err)
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

func (j job) startContainer(ctx context.Context, a plan.StartContainer) error {
	name := a.Container.Name
	id, err := a.Created, error(nil)
	if id == "" {
		if id, err = j.createContainer(ctx, a); err != nil {
			if ctx.Err() == nil {
				j.event(name, true, "Failed", "Error: %s", err)
			}
			return err
		}
		j.event(name, false, "Created", "Container created")
	}
	if err := j.deps.Containers.StartContainer(ctx, id); err != nil {
		if ctx.Err() == nil {
			j.event(name, true, "Failed", "Error: %s", err)
		}
		return err
	}
	j.event(name, false, "Started", "Container started")
	return j.deps.Logs.Link(j.ref, name, id, a.Attempt)
}

func (j job) createContainer(ctx context.Context, a plan.StartContainer) (string, error) {
	if err := j.deps.Logs.EnsureDir(j.ref, a.Container.Name); err != nil {
		return "", fmt.Errorf("making the log directory of container %s: %w", a.Container.Name, err)
	}
	grant, err := j.deps.Cgroups.Ensure(ctx, j.pod)
	if err != nil {
		return "", err
	}
	return j.deps.Containers.CreateContainer(ctx, pod.ContainerRequest{
		Sandbox:   pod.SandboxRequest{Pod: j.pod, Grant: grant},
		SandboxID: a.SandboxID,
		Container: a.Container,
		Attempt:   a.Attempt, CrashCount: a.CrashCount,
		Image: a.Image, Volumes: j.volumes,
	})
}

func (j job) stopContainer(ctx context.Context, a plan.StopContainer) error {
	why := a.Why
	if why == "" {
		why = "Stopping container " + a.Name
	}
	j.event(a.Name, false, "Killing", "%s", why)
	left := max(time.Until(a.Deadline), minimumGrace)
	// The runtime counts whole seconds; never cut a started one short.
	grace := time.Duration(math.Ceil(left.Seconds())) * time.Second
	return j.deps.Containers.StopContainer(ctx, a.ID, grace)
}

func (j job) removeContainer(ctx context.Context, a plan.RemoveContainer) error {
	if err := j.deps.Containers.RemoveContainer(ctx, a.ID); err != nil {
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
		reason, message := pod.ReasonOf(err, "ErrImagePull")
		if reason == "ErrImagePull" {
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
	case "StopContainer":
		return "KillContainerError"
	case "StopSandbox", "RemoveSandbox":
		return "KillPodSandboxError"
	case "RemoveContainer":
		return "RemoveContainerError"
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
	case plan.StopContainer:
		return a.ID
	case plan.StopSandbox:
		return a.ID
	case plan.RemoveSandbox:
		return a.ID
	case plan.RemoveContainer:
		return a.ID
	case plan.EnsureImage, plan.CreateSandbox, plan.MountVolumes, plan.RemoveVolumes, plan.RemoveCgroup, plan.RemoveLogs:
	}
	return ""
}

// phaseName names a start-up phase for people.
func phaseName(op *operation) string {
	switch a := op.action.(type) {
	case plan.EnsureImage:
		return "image " + a.Container.Name
	case plan.StartContainer:
		return "start " + a.Container.Name
	case plan.CreateSandbox:
		return "sandbox"
	case plan.MountVolumes:
		return "volumes"
	case plan.StopSandbox, plan.RemoveSandbox, plan.StopContainer, plan.RemoveContainer, plan.RemoveVolumes, plan.RemoveCgroup, plan.RemoveLogs:
	}
	return op.Verb
}
