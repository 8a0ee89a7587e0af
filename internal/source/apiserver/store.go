package apiserver

import (
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"nodeagent.dev/nodeagent/internal/pod"
)

// The annotations by which the kubelet marks where a pod came from and when.
const (
	annotationSource = "kubernetes.io/config.source"
	annotationSeen   = "kubernetes.io/config.seen"
)

// store is what the reflector writes and Run reads. Pods in it are never
// changed. It implements cache.ReflectorStore.
type store struct {
	now func() time.Time
	// changed holds one hint, from the first complete list on.
	changed chan struct{}

	mu     sync.Mutex
	synced bool
	byName map[types.NamespacedName]*corev1.Pod
}

var _ cache.ReflectorStore = (*store)(nil)

func newStore(now func() time.Time) *store {
	return &store{now: now, changed: make(chan struct{}, 1), byName: map[types.NamespacedName]*corev1.Pod{}}
}

// pods returns the full set.
func (s *store) pods() []*corev1.Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := make([]*corev1.Pod, 0, len(s.byName))
	for p := range maps.Values(s.byName) {
		set = append(set, p)
	}
	return set
}

// Add implements cache.ReflectorStore.
func (s *store) Add(obj any) error { return s.put(obj) }

// Update implements cache.ReflectorStore.
func (s *store) Update(obj any) error { return s.put(obj) }

func (s *store) put(obj any) error {
	p, err := asPod(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if isMirror(p) {
		delete(s.byName, key(p))
	} else {
		s.byName[key(p)] = s.trim(p)
	}
	s.hint()
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *store) Delete(obj any) error {
	p, err := asPod(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byName, key(p))
	s.hint()
	return nil
}

// Replace implements cache.ReflectorStore: the list is complete.
func (s *store) Replace(list []any, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := make(map[types.NamespacedName]*corev1.Pod, len(list))
	for _, obj := range list {
		p, err := asPod(obj)
		if err != nil {
			return err
		}
		if !isMirror(p) {
			fresh[key(p)] = s.trim(p)
		}
	}
	s.byName, s.synced = fresh, true
	s.hint()
	return nil
}

// Resync implements cache.ReflectorStore. There is nothing to resync with.
func (s *store) Resync() error { return nil }

// hint says that the set changed. Nothing is said before the first list is
// complete: a part of the pods would look like the deletion of the others.
func (s *store) hint() {
	if !s.synced {
		return
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// trim drops what nobody on the node reads, and marks the pod like the kubelet
// does. A pod keeps the time at which its UID was first seen.
func (s *store) trim(p *corev1.Pod) *corev1.Pod {
	t := *p
	t.ManagedFields = nil
	t.Annotations = make(map[string]string, len(p.Annotations)+2)
	maps.Copy(t.Annotations, p.Annotations)
	t.Annotations[annotationSource] = string(pod.SourceAPI)
	if before := s.byName[key(p)]; before != nil && before.UID == p.UID {
		t.Annotations[annotationSeen] = before.Annotations[annotationSeen]
	} else {
		t.Annotations[annotationSeen] = s.now().Format(time.RFC3339Nano)
	}
	return &t
}

func isMirror(p *corev1.Pod) bool {
	_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror
}

func key(p *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
}

func asPod(obj any) (*corev1.Pod, error) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("the watch of pods delivered a %T", obj)
	}
	return p, nil
}
