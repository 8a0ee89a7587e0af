package fakecri

import (
	"maps"
	"slices"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Snapshot is everything the runtime knows at one moment, oldest first.
type Snapshot struct {
	Sandboxes  []Sandbox
	Containers []Container
	// Images are the names of the present images, sorted.
	Images []string
	// PodCIDR is what UpdateRuntimeConfig said last.
	PodCIDR string
}

// Sandbox is one sandbox of a snapshot.
type Sandbox struct {
	ID, PodUID, Namespace, Name string
	Attempt                     int
	Ready                       bool
	Created                     time.Time
	Config                      *cri.PodSandboxConfig
}

// Container is one container of a snapshot.
type Container struct {
	ID, SandboxID, PodUID, PodName, Name string
	Attempt                              int
	// State is "created", "running", "exited" or "unknown".
	State                      string
	Created, Started, Finished time.Time
	ExitCode                   int32
	Config                     *cri.ContainerConfig
}

// Running returns the running containers of a pod, by name.
func (s Snapshot) Running(podUID string) []string {
	var names []string
	for _, c := range s.Containers {
		if c.PodUID == podUID && c.State == "running" {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return names
}

func stateName(s cri.ContainerState) string {
	switch s {
	case cri.ContainerState_CONTAINER_CREATED:
		return "created"
	case cri.ContainerState_CONTAINER_RUNNING:
		return "running"
	case cri.ContainerState_CONTAINER_EXITED:
		return "exited"
	case cri.ContainerState_CONTAINER_UNKNOWN:
	}
	return "unknown"
}

// Snapshot shows the runtime's state. Configs are shared and must not be changed.
func (s *Server) Snapshot() Snapshot {
	st := s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	out := Snapshot{PodCIDR: st.podCIDR}
	for _, sb := range st.sortedSandboxes() {
		out.Sandboxes = append(out.Sandboxes, Sandbox{
			ID: sb.id, PodUID: sb.meta.Uid, Namespace: sb.meta.Namespace, Name: sb.meta.Name,
			Attempt: int(sb.meta.Attempt), Ready: sb.ready, Created: sb.created, Config: sb.config,
		})
	}
	for _, k := range st.sortedContainers() {
		out.Containers = append(out.Containers, Container{
			ID: k.id, SandboxID: k.sandboxID, PodUID: k.podUID, PodName: k.podName, Name: k.name, Attempt: int(k.attempt),
			State: stateName(k.state), Created: k.created, Started: k.started, Finished: k.finished, ExitCode: k.exitCode, Config: k.config,
		})
	}
	for name := range st.images {
		out.Images = append(out.Images, name)
	}
	slices.Sort(out.Images)
	return out
}

// Journal returns every effect so far, in order.
func (s *Server) Journal() []Effect {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return slices.Clone(s.state.journal)
}

// Calls returns how often each method was called so far, by its CRI name, such as
// "ListContainers". A stream counts once, when it is opened.
func (s *Server) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// Violations returns what a node agent did that it must never do, in words.
func (s *Server) Violations() []string {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return slices.Clone(s.state.check.found)
}

// MarkStopped says that the pod's removal was asked for: from now on making or
// starting anything for it is a violation.
func (s *Server) MarkStopped(podUID string) {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	s.state.check.stopped[podUID] = true
}

// Kill ends a running container now, as a crash or the OOM killer would.
func (s *Server) Kill(containerID string, exitCode int32) bool {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	k := s.state.containers[containerID]
	if k == nil || k.state != cri.ContainerState_CONTAINER_RUNNING {
		return false
	}
	s.state.end(k, exitCode, "Exited")
	return true
}

// KillByName ends the running instance of a container of a pod.
func (s *Server) KillByName(podUID, name string, exitCode int32) bool {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	for _, k := range s.state.sortedContainers() {
		if k.podUID == podUID && k.name == name && k.state == cri.ContainerState_CONTAINER_RUNNING {
			s.state.end(k, exitCode, "Exited")
			return true
		}
	}
	return false
}

// KillSandbox ends a sandbox and everything in it, as a dead pause process
// would.
func (s *Server) KillSandbox(id string) bool {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	sb := s.state.sandboxes[id]
	if sb == nil || !sb.ready {
		return false
	}
	sb.died = true
	s.state.stopSandbox(sb)
	return true
}
