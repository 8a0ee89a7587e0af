package pod

import (
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// SandboxRequest is all that it takes to make a sandbox.
type SandboxRequest struct {
	Pod     *corev1.Pod
	Attempt uint32
	Grant   Grant
}

// Environment is what a container's variables may come from beside its spec.
type Environment struct {
	// ConfigMaps and Secrets are the objects that the container's variables refer
	// to, by name; one that is not here does not exist.
	ConfigMaps map[string]*corev1.ConfigMap
	Secrets    map[string]*corev1.Secret
	// Services are those that the container is told of by variables.
	Services []*corev1.Service
	// PodIPs and HostIPs are the addresses of the pod and of its node, primary
	// first.
	PodIPs, HostIPs []string
	// Files returns the content of a file in one of the pod's volumes, for
	// fileKeyRef; nil: there are none.
	Files func(volume, path string) ([]byte, error)
}

// ContainerRequest is all that it takes to make a container.
type ContainerRequest struct {
	Sandbox   SandboxRequest
	SandboxID string
	Container *corev1.Container
	// Attempt is the restart count; CrashCount goes into an annotation so that
	// the crash loop needs no memory (see [RestartAfter]).
	Attempt    int
	CrashCount int
	Image      Image
	// VolumeImages are the images of the image volumes it mounts, by volume.
	VolumeImages map[string]Image
	// Volumes are the pod's volumes as they are set up on the node.
	Volumes Volumes
	// SubPaths says where the paths inside volumes are that some of its mounts
	// want, by the mount's index.
	SubPaths map[int]string
	// Environment is what the variables may come from.
	Environment Environment
	// HostsFile is the managed /etc/hosts of the pod; empty: none.
	HostsFile string
	// TerminationLog is the file on the node that is shown to the container at
	// its terminationMessagePath; empty: none.
	TerminationLog string
	// TargetID is the container whose processes an ephemeral container is to
	// see; empty: those of the pod's own choice.
	TargetID string
}

// SubPath asks for a path inside a volume.
type SubPath struct {
	// Index is the mount's place among the container's.
	Index int
	// Volume is its name in the pod, HostPath where it is set up. Persistent is the
	// name of the PersistentVolume behind it, if it has one.
	Volume, HostPath, Persistent string
	// Path leads on from there; it is relative and has no "..".
	Path string
}

// ImageRequest asks for one container's image.
type ImageRequest struct {
	Pod       *corev1.Pod
	Container *corev1.Container
	// Pulling is called when a pull begins, if it is not nil.
	Pulling func()
}

// ImageResult is what it took to have the image there.
type ImageResult struct {
	Image Image
	// Pulled is set when the image had to be pulled; Present when it was there.
	Pulled bool
	// Size in bytes, 0 when unknown.
	Size int64
	// Took is how long the pull took, Waited the same with the wait for its turn.
	Took   time.Duration
	Waited time.Duration
}

// Streams are the standard streams of a process that somebody wants to see or
// to feed.
type Streams struct {
	Stdin, Stdout, Stderr bool
	// TTY joins them in a terminal; there is no Stderr then.
	TTY bool
}

// ExecResult is how a command in a container ended.
type ExecResult struct {
	Stdout, Stderr []byte
	ExitCode       int32
}

// LogOptions say what of a container's log is wanted, with the meanings that
// PodLogOptions of the Kubernetes API gives them.
type LogOptions struct {
	Follow     bool      // wait for more until the container has ended
	Timestamps bool      // write the time in front of each line
	Since      time.Time // only what is not older; zero: all
	// TailLines counts lines of the file from its end, before anything else is
	// chosen from them: those of the other stream count, and so does each part of a
	// line that the runtime has cut. Nil or negative: all.
	TailLines *int64
	// LimitBytes ends the output after so many bytes, in the middle of a line if need
	// be. Nil: no limit.
	LimitBytes *int64
	Stdout     bool // write what the container wrote to its standard output
	Stderr     bool // write what the container wrote to its standard error
}

// LogWriter is where a log is written to. Flush passes on what Write holds back,
// as a response controller does for an HTTP response.
type LogWriter interface {
	io.Writer
	Flush() error
}
