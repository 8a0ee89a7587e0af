package objects

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

var (
	errBundlesStandalone = errors.New("ClusterTrustBundle projection is not supported in static kubelet mode")
	errBundlesNotServed  = errors.New("ClusterTrustBundle projection is not supported: the API server serves ClusterTrustBundles neither as certificates.k8s.io/v1 nor as v1beta1")
	errBundlesNotKnown   = errors.New("ClusterTrustBundle informer has not yet synced")
)

// bundles are the ClusterTrustBundles of the cluster, known while some pod wants one.
type bundles struct {
	log *zap.Logger

	mu      sync.Mutex
	pods    map[types.UID][]bundleRef
	session *bundleSession // nil: nobody wants any
	fresh   bool           // the session has not been started
}

// bundleRef is how a pod names bundles: one, or all of a signer.
type bundleRef struct{ name, signer string }

func (r bundleRef) means(b *certificatesv1.ClusterTrustBundle) bool {
	return r.name != "" && r.name == b.Name || r.name == "" && r.signer != "" && r.signer == b.Spec.SignerName
}

// bundleSession is the time from the first pod that wants bundles to the last.
type bundleSession struct {
	*collection[*certificatesv1.ClusterTrustBundle]
	// unwanted is closed when nobody wants bundles any more.
	unwanted chan struct{}
	// notServed is closed when the API server turns out to have no such API.
	notServed chan struct{}
}

func newBundles(log *zap.Logger) *bundles {
	return &bundles{log: log, pods: map[types.UID][]bundleRef{}}
}

// TrustBundlesOf returns what a pod's volumes want of ClusterTrustBundles.
func TrustBundlesOf(p *corev1.Pod) []*corev1.ClusterTrustBundleProjection {
	var all []*corev1.ClusterTrustBundleProjection
	for i := range p.Spec.Volumes {
		projected := p.Spec.Volumes[i].Projected
		if projected == nil {
			continue
		}
		for j := range projected.Sources {
			if wanted := projected.Sources[j].ClusterTrustBundle; wanted != nil {
				all = append(all, wanted)
			}
		}
	}
	return all
}

// WantTrustBundles replaces what a pod refers to of ClusterTrustBundles. They are
// watched while some pod wants any: many clusters have none. [Store.Drop] ends it.
func (s *Store) WantTrustBundles(uid types.UID, wanted []*corev1.ClusterTrustBundleProjection) {
	if s.client == nil {
		return
	}
	var refs []bundleRef
	for _, w := range wanted {
		switch {
		case w.Name != nil:
			refs = append(refs, bundleRef{name: *w.Name})
		case w.SignerName != nil:
			refs = append(refs, bundleRef{signer: *w.SignerName})
		}
	}
	if s.bundles.want(uid, refs) {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// want reports whether there is a session to start.
func (b *bundles) want(uid types.UID, refs []bundleRef) (begin bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(refs) == 0 {
		delete(b.pods, uid)
	} else {
		b.pods[uid] = refs
	}
	switch {
	case len(b.pods) > 0 && b.session == nil:
		b.session = &bundleSession{
			collection: newCollection[*certificatesv1.ClusterTrustBundle]("cluster trust bundles", b.log),
			unwanted:   make(chan struct{}), notServed: make(chan struct{}),
		}
		b.fresh = true
	case len(b.pods) == 0 && b.session != nil:
		close(b.session.unwanted)
		b.session, b.fresh = nil, false
	}
	return b.fresh
}

// take returns the session that is to be started; nil: none.
func (b *bundles) take() *bundleSession {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.fresh {
		return nil
	}
	b.fresh = false
	return b.session
}

// wanting returns the pods that want one of the bundles.
func (b *bundles) wanting(changed []*certificatesv1.ClusterTrustBundle) []types.UID {
	b.mu.Lock()
	defer b.mu.Unlock()
	uids := map[types.UID]struct{}{}
	for uid, refs := range b.pods {
		for _, bundle := range changed {
			if slices.ContainsFunc(refs, func(r bundleRef) bool { return r.means(bundle) }) {
				uids[uid] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(uids))
}

// TrustAnchorsByName returns the certificates of a ClusterTrustBundle, as PEM and each
// once. It waits for the first list of bundles, but no more than a few seconds. With
// optional, a bundle that does not exist is an empty one; else the error satisfies
// apierrors.IsNotFound. The errors have the kubelet's words.
func (s *Store) TrustAnchorsByName(ctx context.Context, name string, optional bool) ([]byte, error) {
	known, err := s.knownBundles(ctx)
	if err != nil {
		return nil, err
	}
	bundle, ok, err := known.one(ctx, types.NamespacedName{Name: name})
	if err != nil {
		return nil, err
	}
	if !ok && optional {
		return []byte{}, nil
	}
	if !ok {
		return nil, fmt.Errorf("while getting ClusterTrustBundle: %w", apierrors.NewNotFound(certificatesv1.Resource("clustertrustbundle"), name))
	}
	return anchors([]*certificatesv1.ClusterTrustBundle{bundle}), nil
}

// TrustAnchorsBySigner returns the certificates of all ClusterTrustBundles of a signer
// whose labels match, as [Store.TrustAnchorsByName] does those of one. No selector
// matches nothing, an empty one everything.
func (s *Store) TrustAnchorsBySigner(ctx context.Context, signer string, selector *metav1.LabelSelector, optional bool) ([]byte, error) {
	known, err := s.knownBundles(ctx)
	if err != nil {
		return nil, err
	}
	matching, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, fmt.Errorf("while parsing label selector: %w", err)
	}
	all, err := known.all(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(b *certificatesv1.ClusterTrustBundle) bool {
		return b.Spec.SignerName != signer || !matching.Matches(labels.Set(b.Labels))
	})
	if len(all) == 0 && !optional {
		return nil, errors.New("combination of signerName and labelSelector matched zero ClusterTrustBundles")
	}
	return anchors(all), nil
}

// knownBundles returns the bundles once they have been listed.
func (s *Store) knownBundles(ctx context.Context) (*bundleSession, error) {
	if s.client == nil {
		return nil, errBundlesStandalone
	}
	s.bundles.mu.Lock()
	session := s.bundles.session
	s.bundles.mu.Unlock()
	if session == nil {
		return nil, errors.New("getting cluster trust bundles: no pod of this node is known to want any; this is a bug of the agent")
	}
	timer := time.NewTimer(firstAnswer)
	defer timer.Stop()
	select {
	case <-session.known:
		return session, nil
	case <-session.notServed:
	case <-timer.C:
	case <-ctx.Done():
	}
	select {
	case <-session.known: // whatever else has happened before
		return session, nil
	default:
	}
	select {
	case <-session.notServed:
		return nil, errBundlesNotServed
	default:
	}
	if err := session.failures.last(); err != nil {
		return nil, fmt.Errorf("%w: %w", errBundlesNotKnown, err)
	}
	return nil, errBundlesNotKnown
}
