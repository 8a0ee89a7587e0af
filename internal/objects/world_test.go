package objects

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// TestMain looks for what a Store left behind. klog's flusher is its own.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

// server is an API server behind the fake client: it honours field selectors and
// resource versions, which the fake's own does not.
type server struct {
	client *fake.Clientset

	mu       sync.Mutex
	version  int
	history  []change
	watchers map[*stream]struct{}
	refuse   error  // of every request
	served   string // version of cluster trust bundles
	asked    map[string]int
}

// change is one version of one object.
type change struct {
	version  int
	resource string
	event    watch.Event
}

// stream is one watch.
type stream struct {
	*watch.RaceFreeFakeWatcher
	srv      *server
	resource string
	ns       string
	selector fields.Selector
}

func (w *stream) Stop() {
	w.RaceFreeFakeWatcher.Stop()
	w.srv.mu.Lock()
	defer w.srv.mu.Unlock()
	delete(w.srv.watchers, w)
}

func newServer() *server {
	s := &server{served: "v1", client: fake.NewClientset(), watchers: map[*stream]struct{}{}, asked: map[string]int{}}
	s.client.PrependReactor("list", "*", s.list)
	s.client.PrependWatchReactor("*", s.watch)
	return s
}

func meta(o runtime.Object) metav1.Object { return o.(metav1.Object) }

func selects(sel fields.Selector, o runtime.Object) bool {
	set := fields.Set{"metadata.name": meta(o).GetName()}
	if svc, ok := o.(*corev1.Service); ok {
		set["spec.clusterIP"] = svc.Spec.ClusterIP
	}
	return sel.Matches(set)
}

// put makes or changes an object, and returns its version.
func (s *server) put(o runtime.Object) {
	resource := resourceOf(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := watch.Added
	for _, now := range s.state(resource) {
		if meta(now).GetName() == meta(o).GetName() && meta(now).GetNamespace() == meta(o).GetNamespace() {
			kind = watch.Modified
		}
	}
	s.publish(resource, kind, o.DeepCopyObject())
}

func (s *server) remove(o runtime.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish(resourceOf(o), watch.Deleted, o.DeepCopyObject())
}

func (s *server) publish(resource string, kind watch.EventType, o runtime.Object) {
	s.version++
	meta(o).SetResourceVersion(strconv.Itoa(s.version))
	c := change{version: s.version, resource: resource, event: watch.Event{Type: kind, Object: o}}
	s.history = append(s.history, c)
	for w := range s.watchers {
		w.send(c)
	}
}

func (w *stream) send(c change) {
	if c.resource == w.resource && (w.ns == "" || w.ns == meta(c.event.Object).GetNamespace()) && selects(w.selector, c.event.Object) {
		w.Action(c.event.Type, w.srv.asServed(c.event.Object.DeepCopyObject()))
	}
}

func (s *server) state(resource string) []runtime.Object {
	now := map[string]runtime.Object{}
	for _, c := range s.history {
		if c.resource != resource {
			continue
		}
		name := meta(c.event.Object).GetNamespace() + "/" + meta(c.event.Object).GetName()
		if c.event.Type == watch.Deleted {
			delete(now, name)
		} else {
			now[name] = c.event.Object
		}
	}
	return slices.Collect(maps.Values(now))
}

// fail makes every request fail and ends the streams; nil: no longer.
func (s *server) fail(err error) {
	s.mu.Lock()
	s.refuse = err
	open := slices.Collect(maps.Keys(s.watchers))
	s.mu.Unlock()
	for _, w := range open {
		w.Stop()
	}
}

// count says how often something was asked ("list configmaps a").
func (s *server) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[what]
}

// watched names the objects that are watched.
func (s *server) watched() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for w := range s.watchers {
		if name, ok := w.selector.RequiresExactMatch("metadata.name"); ok {
			all = append(all, w.resource+"/"+name)
		}
	}
	slices.Sort(all)
	return fmt.Sprint(all)
}

func (s *server) ask(verb, resource string, sel fields.Selector) error {
	name, single := sel.RequiresExactMatch("metadata.name")
	s.asked[verb+" "+resource+" "+name]++
	if !single && resource != "runtimeclasses" && resource != bundlesResource && sel.String() != "spec.clusterIP!=None" {
		return apierrors.NewForbidden(corev1.Resource(resource), "", errors.New("a node may not ask for "+sel.String()))
	}
	return s.refuse
}

func (s *server) list(a clienttesting.Action) (bool, runtime.Object, error) {
	resource, sel := a.GetResource().Resource, a.(clienttesting.ListAction).GetListRestrictions().Fields
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ask("list", resource, sel); err != nil {
		return true, nil, err
	}
	if resource == bundlesResource {
		list, err := s.listBundles(a.GetResource().Version)
		return true, list, err
	}
	listMeta := metav1.ListMeta{ResourceVersion: strconv.Itoa(s.version)}
	cms, secs, svcs := corev1.ConfigMapList{ListMeta: listMeta}, corev1.SecretList{ListMeta: listMeta}, corev1.ServiceList{ListMeta: listMeta}
	classes := nodev1.RuntimeClassList{ListMeta: listMeta}
	for _, o := range s.state(resource) {
		if !selects(sel, o) || a.GetNamespace() != "" && a.GetNamespace() != meta(o).GetNamespace() {
			continue
		}
		switch o := o.DeepCopyObject().(type) {
		case *corev1.ConfigMap:
			cms.Items = append(cms.Items, *o)
		case *corev1.Secret:
			secs.Items = append(secs.Items, *o)
		case *corev1.Service:
			svcs.Items = append(svcs.Items, *o)
		case *nodev1.RuntimeClass:
			classes.Items = append(classes.Items, *o)
		}
	}
	return true, map[string]runtime.Object{"configmaps": &cms, "secrets": &secs, "services": &svcs, "runtimeclasses": &classes}[resource], nil
}

func (s *server) watch(a clienttesting.Action) (bool, watch.Interface, error) {
	asked := a.(clienttesting.WatchAction).GetWatchRestrictions()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ask("watch", a.GetResource().Resource, asked.Fields); err != nil {
		return true, nil, err
	}
	if asked := a.GetResource(); asked.Resource == bundlesResource && asked.Version != s.served {
		return true, nil, errPathNotFound
	}
	w := &stream{RaceFreeFakeWatcher: watch.NewRaceFreeFake(), srv: s, resource: a.GetResource().Resource, ns: a.GetNamespace(), selector: asked.Fields}
	since, err := strconv.Atoi(asked.ResourceVersion)
	if err != nil {
		return true, nil, err
	}
	for _, c := range s.history {
		if c.version > since {
			w.send(c)
		}
	}
	s.watchers[w] = struct{}{}
	return true, w, nil
}

func resourceOf(o runtime.Object) string {
	switch o.(type) {
	case *corev1.ConfigMap:
		return "configmaps"
	case *corev1.Secret:
		return "secrets"
	case *nodev1.RuntimeClass:
		return "runtimeclasses"
	case *certificatesv1.ClusterTrustBundle:
		return bundlesResource
	}
	return "services"
}

func objectMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name), ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "someone"}}}
}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: objectMeta(name), Data: map[string]string{"key": value}}
}

func secret(name, value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: objectMeta(name), Data: map[string][]byte{"key": []byte(value)}}
}

func service(name, address string) *corev1.Service {
	return &corev1.Service{ObjectMeta: objectMeta(name), Spec: corev1.ServiceSpec{ClusterIP: address}}
}

func class(name, handler string) *nodev1.RuntimeClass {
	m := objectMeta(name)
	m.Namespace = ""
	return &nodev1.RuntimeClass{ObjectMeta: m, Handler: handler}
}

// world is a Store at work in a bubble.
type world struct {
	*Store
	t    *testing.T
	srv  *server
	logs *observer.ObservedLogs

	mu   sync.Mutex
	told []string
}

// inBubble runs a test with a Store that is running on a fake clock.
func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		w := &world{t: t, srv: newServer(), logs: logs}
		w.Store = New(w.srv.client, Deps{Changed: func(uids []types.UID) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.told = append(w.told, fmt.Sprint(uids))
		}}, zap.New(core))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		test(t, w)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// news returns what Changed was told since the last call, once all is quiet.
func (w *world) news() string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(w.told) // news of several objects come in any order
	told := fmt.Sprint(w.told)
	w.told = nil
	return told
}

func (w *world) expectNews(want string) {
	w.t.Helper()
	if got := w.news(); got != want {
		w.t.Errorf("told %s, want %s", got, want)
	}
}

func (w *world) expectWatched(want string) {
	w.t.Helper()
	synctest.Wait()
	if got := w.srv.watched(); got != want {
		w.t.Errorf("watched: %s, want %s", got, want)
	}
}

// value is what a ConfigMap says, or the error.
func (w *world) value(name string) string {
	cm, err := w.ConfigMap(w.t.Context(), "ns", name)
	if err != nil {
		return err.Error()
	}
	if cm.ManagedFields != nil {
		w.t.Errorf("managedFields of %s are kept", name)
	}
	return cm.Data["key"]
}

func (w *world) expectValue(name, want string) {
	w.t.Helper()
	if got := w.value(name); got != want {
		w.t.Errorf("%s is %q, want %q", name, got, want)
	}
}
