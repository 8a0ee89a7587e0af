package source

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Source is one place that pods come from.
type Source interface {
	// Name is written into the pods and into logs; it never changes.
	Name() pod.SourceName
	// Run sends the full set of wanted pods, first as soon as it is known and
	// then whenever it changes, until ctx is done; then it returns nil. The
	// first set, which may be empty, says that the source is in sync: before it
	// nothing is known about missing pods. A source that loses its origin sends
	// nothing, so that the last set stays in force.
	//
	// Sets and the pods in them belong to the receiver's readers once they are
	// sent: nobody changes them. Run returns only when all it started has ended.
	Run(ctx context.Context, out chan<- []*corev1.Pod) error
}
