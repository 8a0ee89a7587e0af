package objects

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// notServedPause is how long an API server that has no ClusterTrustBundles is left
// alone before it is asked again. The kubelet asks once and never again.
const notServedPause = 5 * time.Minute

// watchBundles keeps the bundles up to date until ctx ends or nobody wants them.
func (s *Store) watchBundles(ctx context.Context, session *bundleSession) {
	ctx, cancel := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	defer func() {
		cancel()
		waiting.Wait()
	}()
	waiting.Go(func() {
		select {
		case <-session.unwanted:
			cancel()
		case <-ctx.Done():
		}
	})
	source := &bundleSource{client: s.client, session: session}
	lw := &cache.ListWatch{ListWithContextFunc: source.list, WatchFuncWithContext: source.watch}
	reflect(ctx, "cluster trust bundles", lw, &certificatesv1.ClusterTrustBundle{}, bundleSink{session, s})
}

// bundleSource lists and watches bundles in whichever version the server has.
type bundleSource struct {
	client  kubernetes.Interface
	session *bundleSession
	beta    atomic.Bool // what the last list has found
}

func (b *bundleSource) list(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	list, err := b.client.CertificatesV1().ClusterTrustBundles().List(ctx, opts)
	if err == nil {
		b.beta.Store(false)
		return list, nil
	}
	if !apierrors.IsNotFound(err) {
		return nil, b.session.failures.add(ctx, "listing", err)
	}
	beta, err := b.client.CertificatesV1beta1().ClusterTrustBundles().List(ctx, opts)
	if err == nil {
		b.beta.Store(true)
		list := &certificatesv1.ClusterTrustBundleList{ListMeta: beta.ListMeta}
		for i := range beta.Items {
			list.Items = append(list.Items, *fromBeta(&beta.Items[i]))
		}
		return list, nil
	}
	added := b.session.failures.add(ctx, "listing", err)
	if !apierrors.IsNotFound(err) {
		return nil, added
	}
	select {
	case <-b.session.notServed:
	default:
		close(b.session.notServed) // one list at a time
	}
	select {
	case <-ctx.Done():
	case <-time.After(notServedPause):
	}
	return nil, added
}

func (b *bundleSource) watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	if !b.beta.Load() {
		w, err := b.client.CertificatesV1().ClusterTrustBundles().Watch(ctx, opts)
		if err != nil {
			return nil, b.session.failures.add(ctx, "watching", err)
		}
		return w, nil
	}
	w, err := b.client.CertificatesV1beta1().ClusterTrustBundles().Watch(ctx, opts)
	if err != nil {
		return nil, b.session.failures.add(ctx, "watching", err)
	}
	return watch.Filter(w, func(in watch.Event) (watch.Event, bool) {
		if bundle, is := in.Object.(*certificatesv1beta1.ClusterTrustBundle); is {
			in.Object = fromBeta(bundle)
		}
		return in, true
	}), nil
}

func fromBeta(b *certificatesv1beta1.ClusterTrustBundle) *certificatesv1.ClusterTrustBundle {
	return &certificatesv1.ClusterTrustBundle{
		ObjectMeta: b.ObjectMeta,
		Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: b.Spec.SignerName, TrustBundle: b.Spec.TrustBundle},
	}
}

// bundleSink is where the reflector writes to. It tells the pods.
type bundleSink struct {
	*bundleSession
	store *Store
}

var _ cache.ReflectorStore = bundleSink{}

// Add implements cache.ReflectorStore.
func (s bundleSink) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s bundleSink) Update(obj any) error {
	return s.follow(func() error { return s.collection.Update(obj) })
}

// Delete implements cache.ReflectorStore.
func (s bundleSink) Delete(obj any) error {
	return s.follow(func() error { return s.collection.Delete(obj) })
}

// Replace implements cache.ReflectorStore.
func (s bundleSink) Replace(list []any, version string) error {
	return s.follow(func() error { return s.collection.Replace(list, version) })
}

// follow does something and tells the pods of the bundles that are no longer as they
// were. Bundles are few.
func (s bundleSink) follow(do func() error) error {
	before := s.snapshot()
	if err := do(); err != nil {
		return err
	}
	after := s.snapshot()
	var changed []*certificatesv1.ClusterTrustBundle
	for name, b := range before {
		if now, still := after[name]; !still || !same(b, now) {
			changed = append(changed, b) // its signer may be another one now
		}
	}
	for name, b := range after {
		if was, known := before[name]; !known || !same(was, b) {
			changed = append(changed, b)
		}
	}
	if uids := s.store.bundles.wanting(changed); len(uids) > 0 && s.store.deps.Changed != nil {
		s.store.deps.Changed(uids)
	}
	return nil
}

func (s bundleSink) snapshot() map[types.NamespacedName]*certificatesv1.ClusterTrustBundle {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.byName)
}
