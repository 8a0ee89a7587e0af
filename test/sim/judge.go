package sim

import (
	"fmt"
	"sync"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/test/fakecri"
)

// The commands that tell hooks and probes of a simulated container apart.
const (
	postStart    = "postStart"
	preStop      = "preStop"
	probeCommand = "probe"
)

// hooks counts the hooks that one life of the agent has run.
type hooks struct {
	mu   sync.Mutex
	runs map[string]int
	api  *API
}

// ran notes a hook of a container instance; none runs twice.
func (h *hooks) ran(id, which string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runs[id+which]++
	if n := h.runs[id+which]; n > 1 {
		h.api.accuse(fmt.Sprintf("%s of container %s ran %d times", which, id, n))
	}
}

// tooEarly says why a container may not be made now: one that comes before it
// has not had its turn in the sandbox, and nothing behind that one has either.
func tooEarly(req pod.ContainerRequest, snap fakecri.Snapshot) string {
	instances := map[string]fakecri.Container{} // the newest of each name in the sandbox
	for _, c := range snap.Containers {
		if c.SandboxID == req.SandboxID && (c.State == "running" || c.State == "exited") {
			instances[c.Name] = c
		}
	}
	missing := ""
	for k, c := range pod.Containers(req.Sandbox.Pod) {
		i, there := instances[c.Name]
		if there {
			missing = "" // whoever is behind it was through before
		}
		if c.Name == req.Container.Name || k == pod.KindRegular || k == pod.KindEphemeral {
			break
		}
		if done := there && (i.State == "exited" && i.ExitCode == 0 || k == pod.KindSidecar && i.State == "running"); !done && missing == "" {
			missing = c.Name
		}
	}
	if missing == "" {
		return ""
	}
	return fmt.Sprintf("%s of %s is made before %s is through", req.Container.Name, req.Sandbox.Pod.Name, missing)
}

// accuse notes something that must never be.
func (a *API) accuse(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wrong = append(a.wrong, what)
}
