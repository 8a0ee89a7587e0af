package cri

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// settled is how long after its end a container's status may still change:
// containerd learns of an OOM kill from an event that may come after the exit.
const settled = 5 * time.Second

// cache remembers statuses, so that looking at a pod again costs two lists.
// The zero value is empty.
type cache struct {
	mu   sync.Mutex
	pods map[types.UID]remembered
}

// remembered is what is known of one pod's objects, by ID: those of its last
// observation, which nobody changes.
type remembered struct {
	sandboxes  map[string]*pod.Sandbox
	containers map[string]*pod.Container
	// end is how the last of the running containers ended, by an event that came since
	// the pod was looked at; nil if there was none.
	end *runtimeapi.ContainerStatus
}

func (c *cache) get(uid types.UID) remembered {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pods[uid]
}

// put replaces what is remembered of a pod by what an observation shows.
func (c *cache) put(uid types.UID, o *pod.Observation) {
	if len(o.Sandboxes) == 0 && len(o.Containers) == 0 {
		c.forget(uid)
		return
	}
	r := remembered{
		sandboxes:  make(map[string]*pod.Sandbox, len(o.Sandboxes)),
		containers: make(map[string]*pod.Container, len(o.Containers)),
	}
	for i := range o.Sandboxes {
		r.sandboxes[o.Sandboxes[i].ID] = &o.Sandboxes[i]
	}
	for i := range o.Containers {
		r.containers[o.Containers[i].ID] = &o.Containers[i]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pods == nil {
		c.pods = map[types.UID]remembered{}
	}
	c.pods[uid] = r
}

// end keeps how a running container of a pod has ended.
func (c *cache) end(uid types.UID, st *runtimeapi.ContainerStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.pods[uid]
	if known := r.containers[st.GetId()]; known != nil && known.State == pod.ContainerRunning {
		r.end = st
		c.pods[uid] = r
	}
}

func (c *cache) forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pods, uid)
}

// sandbox returns the full picture of a listed sandbox if the status has
// nothing to add to what is remembered.
func (r remembered) sandbox(listed pod.Sandbox) (pod.Sandbox, bool) {
	before := r.sandboxes[listed.ID]
	if before == nil {
		return listed, false
	}
	known := *before
	if listed.Ready && len(known.IPs) == 0 && !known.HostNetwork {
		return listed, false
	}
	known.Ready = known.Ready && listed.Ready // it never becomes ready again
	if !known.Ready {
		known.IPs = nil
	}
	return known, true
}

// container returns the full picture of a listed container if the status has
// nothing to add to what is remembered.
func (r remembered) container(listed pod.Container, now time.Time) (pod.Container, bool) {
	before := r.containers[listed.ID]
	if before == nil {
		return listed, false
	}
	switch known := *before; known.State {
	case pod.ContainerExited: // for good, even if an older list says otherwise
		done := known.ExitCode == 0 || known.Reason == "OOMKilled" || now.Sub(known.FinishedAt) > settled
		return known, done
	case pod.ContainerRunning:
		return known, listed.State == pod.ContainerRunning && !known.StartedAt.IsZero()
	case pod.ContainerCreated:
		return known, listed.State == pod.ContainerCreated
	case pod.ContainerAborted:
		return known, true
	case pod.ContainerUnknown:
	}
	return listed, false
}
