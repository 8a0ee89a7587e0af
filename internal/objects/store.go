package objects

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// ErrNoServer is why a node without an API server has no objects.
var ErrNoServer = errors.New("this node runs without an API server (no --kubeconfig is given), so it knows no ConfigMaps, Secrets, Services and RuntimeClasses")

// Deps is what a Store needs beside the client.
type Deps struct {
	// Changed is told the pods, sorted, that want an object which appeared,
	// changed or was deleted. It may block briefly: it holds up news of that one
	// object alone. It may call the Store. Nil: nobody is told.
	Changed func(uids []types.UID)
}

// Store keeps the objects. It is safe for concurrent use.
type Store struct {
	client   kubernetes.Interface // nil: there is no API server
	deps     Deps
	log      *zap.Logger
	services *collection[*corev1.Service]
	classes  *collection[*nodev1.RuntimeClass]
	bundles  *bundles
	// wake holds one hint that there is something in unstarted.
	wake chan struct{}

	mu        sync.Mutex
	pods      map[types.UID]wants
	entries   map[key]*entry
	unstarted map[*entry]struct{}
}

// wants is what a pod refers to, as the caller named it.
type wants struct {
	namespace           string
	configMaps, secrets []string
}

// key names an object.
type key struct {
	resource        resource
	namespace, name string
}

// New returns a Store that knows nothing yet. A nil client stands for a node
// without an API server: then every question is answered with [ErrNoServer].
func New(client kubernetes.Interface, deps Deps, log *zap.Logger) *Store {
	return &Store{
		client: client, deps: deps, log: log,
		services:  newCollection[*corev1.Service]("services", log),
		classes:   newCollection[*nodev1.RuntimeClass]("runtime classes", log),
		bundles:   newBundles(log),
		wake:      make(chan struct{}, 1),
		pods:      map[types.UID]wants{},
		entries:   map[key]*entry{},
		unstarted: map[*entry]struct{}{},
	}
}

// Run watches what is wanted until ctx ends, and returns nil once everything that
// it started has ended. It is to be called once; Want may be called before.
func (s *Store) Run(ctx context.Context) error {
	if s.client == nil {
		<-ctx.Done()
		return nil
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { s.watchServices(ctx) })
	running.Go(func() { s.watchClasses(ctx) })
	for {
		for e := range maps.Keys(s.takeUnstarted()) {
			running.Go(func() { s.watchEntry(ctx, e) })
		}
		if session := s.bundles.take(); session != nil {
			running.Go(func() { s.watchBundles(ctx, session) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
	}
}

func (s *Store) takeUnstarted() map[*entry]struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.unstarted
	s.unstarted = map[*entry]struct{}{}
	return taken
}

// Want replaces what a pod refers to: names of ConfigMaps and Secrets of its
// namespace, in any order, also repeatedly. It does not wait for the API server,
// and costs little when the names are those of the last call.
func (s *Store) Want(uid types.UID, namespace string, configMaps, secrets []string) {
	if s.client == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.pods[uid]
	if known && before.namespace == namespace && slices.Equal(before.configMaps, configMaps) && slices.Equal(before.secrets, secrets) {
		return
	}
	now := wants{namespace: namespace, configMaps: slices.Clone(configMaps), secrets: slices.Clone(secrets)}
	s.pods[uid] = now
	s.move(uid, before.keys(), now.keys())
}

// Drop forgets a pod. What no other pod wants is no longer watched and known.
func (s *Store) Drop(uid types.UID) {
	s.bundles.want(uid, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.pods[uid]
	delete(s.pods, uid)
	s.move(uid, before.keys(), nil)
}

// keys returns the objects, each once. An empty name or namespace names none:
// selecting by it would ask for objects of strangers.
func (w wants) keys() map[key]struct{} {
	keys := make(map[key]struct{}, len(w.configMaps)+len(w.secrets))
	if w.namespace == "" {
		return keys
	}
	for r, names := range map[resource][]string{configMaps: w.configMaps, secrets: w.secrets} {
		for _, name := range names {
			if name != "" {
				keys[key{resource: r, namespace: w.namespace, name: name}] = struct{}{}
			}
		}
	}
	return keys
}

// move turns a pod's references from those before into those of now. The caller
// holds the lock.
func (s *Store) move(uid types.UID, before, now map[key]struct{}) {
	for k := range now {
		e := s.entries[k]
		if e == nil {
			e = newEntry(k, s.log)
			s.entries[k] = e
			s.unstarted[e] = struct{}{}
			select {
			case s.wake <- struct{}{}:
			default:
			}
		}
		e.refs[uid] = struct{}{}
	}
	for k := range before {
		if _, still := now[k]; still {
			continue
		}
		e := s.entries[k]
		delete(e.refs, uid)
		if len(e.refs) == 0 {
			delete(s.entries, k)
			delete(s.unstarted, e)
			e.stop()
		}
	}
}

// tell says to the pods that want it that an object is no longer as it was. The
// pods are looked up after the change: who comes later reads the new state.
func (s *Store) tell(e *entry) {
	s.mu.Lock()
	uids := slices.Sorted(maps.Keys(e.refs))
	s.mu.Unlock()
	if len(uids) > 0 && s.deps.Changed != nil {
		s.deps.Changed(uids)
	}
}

// ConfigMap returns a ConfigMap that a pod wants, as it was last heard of. It waits
// for the first answer of the API server until ctx ends, but no more than a few
// seconds. The error satisfies apierrors.IsNotFound, in the words of the API, when
// there is no such ConfigMap; else it says what failed: the API server's refusal, its
// silence, or that no pod wants the object, which is a fault of the caller.
func (s *Store) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return get[*corev1.ConfigMap](ctx, s, key{resource: configMaps, namespace: namespace, name: name})
}

// Secret returns a Secret as [Store.ConfigMap] does a ConfigMap.
func (s *Store) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return get[*corev1.Secret](ctx, s, key{resource: secrets, namespace: namespace, name: name})
}

// Services returns the Services of all namespaces that have an address, in no
// order. It waits for the first full list until ctx ends; the error then says what
// kept it away.
func (s *Store) Services(ctx context.Context) ([]*corev1.Service, error) {
	if s.client == nil {
		return nil, ErrNoServer
	}
	return s.services.all(ctx)
}

// RuntimeHandler returns the runtime's handler for a pod's runtimeClassName, "" for a
// pod that names no class. It waits for the first full list of RuntimeClasses until ctx
// ends; the error then says what kept it away. For a class that does not exist it
// satisfies apierrors.IsNotFound and has the kubelet's words.
func (s *Store) RuntimeHandler(ctx context.Context, class *string) (string, error) {
	if class == nil || *class == "" {
		return "", nil
	}
	if s.client == nil {
		return "", fmt.Errorf("failed to lookup RuntimeClass %s: %w", *class, ErrNoServer)
	}
	found, ok, err := s.classes.one(ctx, types.NamespacedName{Name: *class})
	if err != nil {
		return "", fmt.Errorf("failed to lookup RuntimeClass %s: %w", *class, err)
	}
	if !ok {
		return "", apierrors.NewNotFound(nodev1.Resource("runtimeclass"), *class)
	}
	return found.Handler, nil
}
