package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Action is one thing to do now.
//
//sumtype:decl
type Action interface {
	// Target is what the action works on; at most one runs per target.
	Target() pod.Target
	// Verb is the action's name in logs and timelines.
	Verb() string
	action()
}

// MountVolumes sets up every volume of the pod.
type MountVolumes struct{}

// RemoveVolumes takes down every volume of the pod, and its directory.
type RemoveVolumes struct{}

// RemoveCgroup removes the pod's cgroup.
type RemoveCgroup struct{}

// RemoveLogs removes the pod's log files.
type RemoveLogs struct{}

// EnsureImage makes an image present, by its pull policy.
type EnsureImage struct{ Use pod.ImageUse }

// CreateSandbox makes and starts a sandbox.
type CreateSandbox struct{ Attempt uint32 }

// StopSandbox ends a sandbox; the runtime kills what still runs in it.
type StopSandbox struct{ ID string }

// RemoveSandbox removes a stopped sandbox with its dead containers.
type RemoveSandbox struct {
	ID string
	// Late: nobody waits for it.
	Late bool
}

// StartContainer makes a container instance and starts it, or only starts the
// one named by Created, which an earlier agent made and did not live to start.
type StartContainer struct {
	Container *corev1.Container
	// SandboxID and SandboxAttempt are the sandbox it is made in.
	SandboxID      string
	SandboxAttempt uint32
	Attempt        int
	CrashCount     int
	Image          pod.Image
	// VolumeImages are the images of the image volumes it mounts, by volume.
	VolumeImages map[string]pod.Image
	Created      string
	// Joins is the container whose processes an ephemeral container is to see, and
	// JoinID its instance; both empty: those of the pod's own choice.
	Joins, JoinID string
}

// Resize gives running containers, and the pod as a whole, the resources they have
// been allocated.
type Resize struct {
	Containers []pod.ContainerResize
	SandboxID  string
}

// RunPreStop runs the preStop hook of a container that is about to be stopped,
// until its end or Deadline. A hook that fails stops nothing.
type RunPreStop struct {
	Ending
	Container *corev1.Container
	Handler   *corev1.LifecycleHandler
}

// StopContainer sends SIGTERM, and SIGKILL at Deadline.
type StopContainer struct {
	Ending
	// Quiet says that users were told when the preStop hook was begun.
	Quiet bool
}

// Ending is how one container instance comes to its end.
type Ending struct {
	ID       string
	Name     string
	Deadline time.Time
	// Why is the text of the Killing event; empty means the kubelet's "Stopping
	// container NAME".
	Why string
	// Replace says that the container is to run again, whatever its exit code.
	Replace bool
}

// RemoveContainer removes a dead container instance and, unless KeepLog is set,
// its log.
type RemoveContainer struct {
	ID      string
	Name    string
	Attempt int
	KeepLog bool
}

func (MountVolumes) action()    {}
func (RemoveVolumes) action()   {}
func (RemoveCgroup) action()    {}
func (RemoveLogs) action()      {}
func (EnsureImage) action()     {}
func (CreateSandbox) action()   {}
func (StopSandbox) action()     {}
func (RemoveSandbox) action()   {}
func (StartContainer) action()  {}
func (Resize) action()          {}
func (RunPreStop) action()      {}
func (StopContainer) action()   {}
func (RemoveContainer) action() {}

// Target implements [Action].
func (MountVolumes) Target() pod.Target { return pod.TargetVolumes }

// Target implements [Action].
func (RemoveVolumes) Target() pod.Target { return pod.TargetVolumes }

// Target implements [Action].
func (RemoveCgroup) Target() pod.Target { return pod.TargetCgroup }

// Target implements [Action].
func (RemoveLogs) Target() pod.Target { return pod.TargetLogs }

// Target implements [Action].
func (a EnsureImage) Target() pod.Target { return pod.ImageTarget(a.Use.Key) }

// Target implements [Action].
func (CreateSandbox) Target() pod.Target { return pod.TargetSandbox }

// Target implements [Action].
func (StopSandbox) Target() pod.Target { return pod.TargetSandbox }

// Target implements [Action].
func (RemoveSandbox) Target() pod.Target { return pod.TargetSandbox }

// Target implements [Action].
func (a StartContainer) Target() pod.Target { return pod.ContainerTarget(a.Container.Name) }

// Target implements [Action].
func (Resize) Target() pod.Target { return pod.TargetSizes }

// Target implements [Action].
func (a RunPreStop) Target() pod.Target { return pod.ContainerTarget(a.Name) }

// Target implements [Action].
func (a StopContainer) Target() pod.Target { return pod.ContainerTarget(a.Name) }

// Target implements [Action].
func (a RemoveContainer) Target() pod.Target { return pod.ContainerTarget(a.Name) }

// Verb implements [Action].
func (MountVolumes) Verb() string { return "MountVolumes" }

// Verb implements [Action].
func (RemoveVolumes) Verb() string { return "RemoveVolumes" }

// Verb implements [Action].
func (RemoveCgroup) Verb() string { return "RemoveCgroup" }

// Verb implements [Action].
func (RemoveLogs) Verb() string { return "RemoveLogs" }

// Verb implements [Action].
func (EnsureImage) Verb() string { return pod.VerbEnsureImage }

// Verb implements [Action].
func (CreateSandbox) Verb() string { return "CreateSandbox" }

// Verb implements [Action].
func (StopSandbox) Verb() string { return "StopSandbox" }

// Verb implements [Action].
func (RemoveSandbox) Verb() string { return "RemoveSandbox" }

// Verb implements [Action].
func (StartContainer) Verb() string { return pod.VerbStartContainer }

// Verb implements [Action].
func (Resize) Verb() string { return pod.VerbResize }

// Verb implements [Action].
func (RunPreStop) Verb() string { return pod.VerbRunPreStop }

// Verb implements [Action].
func (StopContainer) Verb() string { return pod.VerbStopContainer }

// Verb implements [Action].
func (RemoveContainer) Verb() string { return "RemoveContainer" }

// Constructive reports whether an action brings something up. A stop cancels
// those; what takes something down is always let finish.
func Constructive(a Action) bool {
	switch a.(type) {
	case MountVolumes, EnsureImage, CreateSandbox, StartContainer, Resize:
		return true
	case RemoveVolumes, RemoveCgroup, RemoveLogs, StopSandbox, RemoveSandbox, RunPreStop, StopContainer, RemoveContainer:
	}
	return false
}
