package objects

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// firstAnswer is how long a question waits for the first list of an object. It is
// long enough for one repetition: a pod can arrive before the node authorizer has
// heard that it is this node's, and the first list is then forbidden.
const firstAnswer = 3 * time.Second

// entry is one object that pods want. The reflector writes it.
type entry struct {
	key      key
	began    time.Time
	failures *failures
	// known is closed by the first list.
	known chan struct{}
	// refs are the pods that want it; guarded by the Store's lock.
	refs map[types.UID]struct{}

	mu     sync.Mutex
	object metav1.Object // nil: there is none; never changed
	// stopped and cancel: whichever of a start and a stop comes second has to see
	// the first.
	stopped bool
	cancel  context.CancelFunc
}

func newEntry(k key, log *zap.Logger) *entry {
	return &entry{
		key: k, began: time.Now(), known: make(chan struct{}), refs: map[types.UID]struct{}{},
		failures: newFailures(k.String(), log),
	}
}

// String names the object for people: "configmap default/settings".
func (k key) String() string { return k.resource.singular() + " " + k.namespace + "/" + k.name }

// start takes the function that ends the watch. False: it has been stopped before.
func (e *entry) start(cancel context.CancelFunc) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cancel = cancel
	return !e.stopped
}

// stop ends the watch and does not wait for its end.
func (e *entry) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = true
	if e.cancel != nil {
		e.cancel()
	}
}

// set keeps what the API server has now; nil: nothing. It reports whether that is
// news. An immutable object is not watched any longer.
func (e *entry) set(object metav1.Object) (news bool) {
	e.mu.Lock()
	news = !same(e.object, object)
	e.object = object
	e.mu.Unlock()
	select {
	case <-e.known:
	default:
		close(e.known) // only the reflector's goroutine gets here
	}
	if immutable(object) {
		e.stop()
	}
	return news
}

func (e *entry) get(ctx context.Context) (metav1.Object, error) {
	if err := e.await(ctx); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.object == nil {
		return nil, apierrors.NewNotFound(corev1.Resource(e.key.resource.singular()), e.key.name)
	}
	return e.object, nil
}

// await waits for the first list. An object whose lists have been failing for
// longer than a question may wait is not waited for again.
func (e *entry) await(ctx context.Context) error {
	select {
	case <-e.known:
		return nil
	default:
	}
	patience := firstAnswer
	if e.failures.last() != nil {
		patience -= time.Since(e.began)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-e.known:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	if err := e.failures.last(); err != nil {
		return err // it says what was tried
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("waiting for the API server's first answer about %s: %w", e.key, err)
	}
	return fmt.Errorf("the API server has not answered within %s what %s is; it goes on being asked", firstAnswer, e.key)
}

func get[T metav1.Object](ctx context.Context, s *Store, k key) (T, error) {
	var none T
	if s.client == nil {
		return none, fmt.Errorf("getting %s: %w", k, ErrNoServer)
	}
	s.mu.Lock()
	e := s.entries[k]
	s.mu.Unlock()
	if e == nil {
		return none, fmt.Errorf("getting %s: no pod of this node is known to want it; this is a bug of the agent", k)
	}
	object, err := e.get(ctx)
	if err != nil {
		return none, err
	}
	typed, ok := object.(T)
	if !ok {
		return none, fmt.Errorf("getting %s: the API server sent a %T", k, object)
	}
	return typed, nil
}

// same says whether nothing happened between the two. Objects are compared by
// version: whoever lists again after an outage gets the same objects again.
func same(a, b metav1.Object) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.GetUID() == b.GetUID() && a.GetResourceVersion() == b.GetResourceVersion() && a.GetResourceVersion() != ""
}

func immutable(object metav1.Object) bool {
	switch o := object.(type) {
	case *corev1.ConfigMap:
		return o.Immutable != nil && *o.Immutable
	case *corev1.Secret:
		return o.Immutable != nil && *o.Immutable
	}
	return false
}

// sink is where the reflector of an entry writes to. It implements
// cache.ReflectorStore.
type sink struct {
	entry *entry
	tell  func(*entry)
}

var _ cache.ReflectorStore = sink{}

// Add implements cache.ReflectorStore.
func (s sink) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s sink) Update(obj any) error {
	object, err := s.mine(obj)
	if err != nil || object == nil {
		return err
	}
	s.set(object)
	return nil
}

// Delete implements cache.ReflectorStore.
func (s sink) Delete(obj any) error {
	object, err := s.mine(obj)
	if err != nil || object == nil {
		return err
	}
	s.set(nil)
	return nil
}

// Replace implements cache.ReflectorStore: the list is complete.
func (s sink) Replace(list []any, _ string) error {
	var found metav1.Object
	for _, obj := range list {
		object, err := s.mine(obj)
		if err != nil {
			return err
		}
		if object != nil {
			found = object
		}
	}
	s.set(found)
	return nil
}

// Resync implements cache.ReflectorStore. There is nothing to resync with.
func (s sink) Resync() error { return nil }

func (s sink) set(object metav1.Object) {
	if s.entry.set(object) {
		s.tell(s.entry)
	}
}

// mine returns the object without what nobody on the node reads; nil when it is
// another one, which a server that does not know the selector would send.
func (s sink) mine(obj any) (metav1.Object, error) {
	object, err := trim(obj)
	if err != nil || object.GetNamespace() != s.entry.key.namespace || object.GetName() != s.entry.key.name {
		return nil, err
	}
	return object, nil
}

// trim returns a copy without managedFields, which can be larger than the rest.
func trim(obj any) (metav1.Object, error) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	switch o := obj.(type) {
	case *corev1.ConfigMap:
		t := *o
		t.ManagedFields = nil
		return &t, nil
	case *corev1.Secret:
		t := *o
		t.ManagedFields = nil
		return &t, nil
	case *corev1.Service:
		t := *o
		t.ManagedFields = nil
		return &t, nil
	case *nodev1.RuntimeClass:
		t := *o
		t.ManagedFields = nil
		return &t, nil
	case *certificatesv1.ClusterTrustBundle:
		t := *o
		t.ManagedFields = nil
		return &t, nil
	}
	return nil, fmt.Errorf("a watch of objects delivered a %T", obj)
}
