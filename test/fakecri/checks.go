package fakecri

import (
	"fmt"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// checks watches for what a node agent must never do. The state's mutex guards it.
type checks struct {
	found   []string
	started map[instance]bool
	stopped map[string]bool
}

// instance is one start of one container of a pod.
type instance struct {
	uid, name string
	attempt   uint32
}

func newChecks() checks {
	return checks{started: map[instance]bool{}, stopped: map[string]bool{}}
}

func (c *checks) violate(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

// forget drops the history of a pod that the runtime has lost.
func (c *checks) forget(uid string) {
	for i := range c.started {
		if i.uid == uid {
			delete(c.started, i)
		}
	}
}

func (c *checks) sandbox(st *state, sb *sandbox) {
	for _, o := range st.sandboxes {
		if o.meta.Uid != sb.meta.Uid {
			continue
		}
		if o.ready {
			c.violate("pod %s: sandbox attempt %d made while attempt %d is ready", sb.meta.Uid, sb.meta.Attempt, o.meta.Attempt)
		}
		if o.meta.Attempt > sb.meta.Attempt {
			c.violate("pod %s: sandbox attempt %d made after attempt %d", sb.meta.Uid, sb.meta.Attempt, o.meta.Attempt)
		}
	}
	if c.stopped[sb.meta.Uid] {
		c.violate("pod %s: sandbox made after its removal was asked for", sb.meta.Uid)
	}
}

func (c *checks) create(st *state, k *container) {
	for _, o := range st.containers {
		if o.podUID == k.podUID && o.name == k.name && o.attempt > k.attempt {
			c.violate("pod %s: container %s attempt %d created after attempt %d", k.podUID, k.name, k.attempt, o.attempt)
		}
	}
}

func (c *checks) start(st *state, k *container, sb *sandbox) {
	for _, o := range st.containers {
		if o != k && o.podUID == k.podUID && o.name == k.name && o.state == cri.ContainerState_CONTAINER_RUNNING {
			c.violate("pod %s: container %s attempt %d started while attempt %d runs", k.podUID, k.name, k.attempt, o.attempt)
		}
	}
	i := instance{k.podUID, k.name, k.attempt}
	if c.started[i] {
		c.violate("pod %s: container %s attempt %d started twice", k.podUID, k.name, k.attempt)
	}
	c.started[i] = true
	if !sb.ready && !sb.died {
		c.violate("pod %s: container %s started in a sandbox that is not ready", k.podUID, k.name)
	}
	if c.stopped[k.podUID] {
		c.violate("pod %s: container %s started after the pod's removal was asked for", k.podUID, k.name)
	}
}

func (c *checks) remove(k *container) {
	if k.state == cri.ContainerState_CONTAINER_RUNNING {
		c.violate("pod %s: container %s attempt %d removed while running", k.podUID, k.name, k.attempt)
	}
}
