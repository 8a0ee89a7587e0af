package podsapi

import (
	"cmp"
	"crypto/sha256"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1alpha1 "k8s.io/kubelet/pkg/apis/pods/v1alpha1"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// sight is what a watcher was told of a pod last.
type sight struct {
	ref pod.Ref
	sum [sha256.Size]byte
	// over: it was told that the pod has ended.
	over bool
}

// encoded returns the pod with the status that the agent reports, in the form of
// the API: a corev1.Pod as protocol buffer.
func encoded(v *pod.View) ([]byte, error) {
	p := *v.Pod
	p.Status = v.Status
	return p.Marshal()
}

// farewell is all that is told of a pod that has ended.
func farewell(ref pod.Ref) ([]byte, error) {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name, UID: ref.UID}}
	return p.Marshal()
}

// next returns what a watcher is to be told of a pod, nil for nothing, and what
// it has been told then. before is nil when it was told nothing yet, v is nil when
// there is no such pod (any more). Then, and when the pod has ended for good, the
// pod is deleted: once, as the kubelet says it, although it may still be in lists.
func next(before *sight, v *pod.View) (*v1alpha1.WatchPodsEvent, *sight, error) {
	switch {
	case v == nil || v.Pod == nil:
		if before == nil || before.over {
			return nil, nil, nil
		}
		raw, err := farewell(before.ref)
		return event(v1alpha1.EventType_DELETED, raw), nil, err
	case v.Stage == plan.Terminated:
		if before == nil || before.over {
			return nil, before, nil
		}
		raw, err := farewell(before.ref)
		return event(v1alpha1.EventType_DELETED, raw), &sight{ref: v.Ref, over: true}, err
	}
	raw, err := encoded(v)
	if err != nil {
		return nil, before, err
	}
	now := toldOf(v, raw)
	switch {
	case before == nil:
		return event(v1alpha1.EventType_ADDED, raw), now, nil
	case before.sum == now.sum:
		return nil, before, nil
	}
	return event(v1alpha1.EventType_MODIFIED, raw), now, nil
}

// toldOf is the sight of a pod that was shown in full.
func toldOf(v *pod.View, raw []byte) *sight { return &sight{ref: v.Ref, sum: sha256.Sum256(raw)} }

func event(kind v1alpha1.EventType, raw []byte) *v1alpha1.WatchPodsEvent {
	return &v1alpha1.WatchPodsEvent{Type: kind, Pod: raw}
}

// sorted returns the pods that have an object, by UID.
func sorted(views []*pod.View) []*pod.View {
	views = slices.DeleteFunc(slices.Clone(views), func(v *pod.View) bool { return v.Pod == nil })
	slices.SortFunc(views, func(a, b *pod.View) int { return cmp.Compare(a.Ref.UID, b.Ref.UID) })
	return views
}
