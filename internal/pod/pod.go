package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Ref names one pod instance. It is all that is left of a pod when only the
// runtime remembers it.
type Ref struct {
	UID       types.UID
	Namespace string
	Name      string
}

// RefOf returns the identity of a pod object.
func RefOf(p *corev1.Pod) Ref {
	return Ref{UID: p.UID, Namespace: p.Namespace, Name: p.Name}
}

// FullName is "name_namespace", the kubelet's key for a pod that outlives its
// UID (a static pod keeps it when its manifest changes).
func (r Ref) FullName() string { return r.Name + "_" + r.Namespace }

// String is "namespace/name", for people.
func (r Ref) String() string { return r.Namespace + "/" + r.Name }

// SourceName says where a pod comes from. The values are those the kubelet
// writes into the annotation kubernetes.io/config.source.
type SourceName string

// The sources of pods.
const (
	SourceAPI  SourceName = "api"
	SourceFile SourceName = "file"
	SourceHTTP SourceName = "http"
)

// Spec is a pod as one source wants it.
type Spec struct {
	Pod    *corev1.Pod
	Source SourceName
}

// Static reports whether the pod is one the API server did not give us: its
// life is ruled by a manifest, and its status is ours alone.
func (s Spec) Static() bool { return s.Source != SourceAPI }

// Desired is everything the sources want on this node.
type Desired struct {
	// Specs are sorted by namespace, name and UID. No two of them share a UID or
	// a full name.
	Specs []Spec
	// Synced is set once every source has been seen. Before that a pod that is
	// not in Specs is not unwanted, only not known yet.
	Synced bool
	// Conflicts explains, one sentence each, the pods that were left out because
	// another one has the same identity.
	Conflicts []string
}

// Stop is a decision that a pod must end. The zero Deadline means "now".
type Stop struct {
	// Reason and Message go to status.reason and status.message; both are empty
	// for a plain deletion.
	Reason  string
	Message string
	// Deadline is when a process that ignores SIGTERM gets SIGKILL.
	Deadline time.Time
	// Phase is the phase the pod ends in when the stop, not its containers,
	// decides it (Failed for an eviction). Empty: the containers decide.
	Phase corev1.PodPhase
	// Delete asks for everything of the pod to be removed, containers and
	// sandboxes included. Without it the dead containers stay for their logs.
	Delete bool
	// Refused says that the node did not take the pod to begin with.
	Refused bool
	// Event is what users are told when the stop begins, as a warning with its
	// Reason; empty: nothing.
	Event string
	// Disruption is the message of the condition DisruptionTarget of a pod that the
	// agent takes off the node for others' sake; empty: it gets none.
	Disruption string
}

// Merge combines two stops: the first reason stays, the deadline only comes
// nearer, and a wish to delete is never taken back. Either may be nil.
func (s *Stop) Merge(o *Stop) *Stop {
	if s == nil {
		return o
	}
	if o == nil {
		return s
	}
	m := *s
	if o.Deadline.Before(m.Deadline) {
		m.Deadline = o.Deadline
	}
	m.Delete = s.Delete || o.Delete
	if m.Phase == "" && m.Reason == "" {
		m.Phase, m.Reason, m.Message, m.Event, m.Disruption = o.Phase, o.Reason, o.Message, o.Event, o.Disruption
		m.Refused = o.Refused
	}
	return &m
}

// Equal reports whether two stops ask for the same. Either may be nil.
func (s *Stop) Equal(o *Stop) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.Reason == o.Reason && s.Message == o.Message && s.Phase == o.Phase &&
		s.Delete == o.Delete && s.Deadline.Equal(o.Deadline)
}
