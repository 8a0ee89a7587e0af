package pod

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

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
	// Given: something that the pod is made of has changed at the API server. The
	// runtime knows nothing of that; what failed for want of it can be tried again.
	Given bool
	// What is all that happened, if it is known: to the container or sandbox ID, at At
	// by the runtime's clock. Who has asked for that will look anyway.
	What Happening
	ID   string
	At   time.Time
}

// Happening is what an event of the runtime tells of.
type Happening uint8

// What may have happened.
const (
	// Anything may have.
	Anything Happening = iota
	// Made: something was made or started.
	Made
	// Ended: something ended, and is still there.
	Ended
	// Vanished: something is there no more.
	Vanished
)

// Merge returns what is left to say when the other hint of the pod comes before
// anybody has taken this one.
func (h Hint) Merge(later Hint) Hint {
	switch {
	case h.What == Made || h.What == later.What && h.ID == later.ID:
		return later
	case later.What != Made:
		h.What, h.ID = Anything, ""
	}
	return h
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

// Disk is what the runtime uses of a file system.
type Disk struct {
	// Dir is a directory in it; empty: not known.
	Dir string
	// Bytes and Inodes are what is used; nil: not known.
	Bytes, Inodes *uint64
	// At is when that was measured.
	At time.Time
}

// ImageDisks are the file systems of images and of what containers write.
type ImageDisks struct{ Images, Containers Disk }
