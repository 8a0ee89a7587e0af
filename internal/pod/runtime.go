package pod

import "k8s.io/apimachinery/pkg/types"

// Listing is what one list of the whole runtime shows of one pod: enough to
// notice that something changed, not what.
type Listing struct {
	Ref Ref
	// Digest is equal in two listings exactly when the same sandboxes and
	// containers were in the same states.
	Digest string
	// Live reports whether a sandbox is ready or a container runs.
	Live bool
}

// Hint says that something may have changed for a pod. It is never the truth,
// only a reason to look.
type Hint struct {
	UID types.UID
	// Why is the event's name, for the timeline.
	Why string
}

// RuntimeInfo is what the runtime says of itself.
type RuntimeInfo struct {
	Name       string
	Version    string
	APIVersion string
	// RuntimeProblem and NetworkProblem are empty when the runtime reports the
	// condition true; else "reason: ..., message: ...".
	RuntimeProblem string
	NetworkProblem string
	Handlers       []RuntimeHandler
	// SupplementalGroupsPolicy is the runtime feature of that name.
	SupplementalGroupsPolicy bool
}

// RuntimeHandler is one way of running containers the runtime offers.
type RuntimeHandler struct {
	Name                    string
	RecursiveReadOnlyMounts bool
	UserNamespaces          bool
}
