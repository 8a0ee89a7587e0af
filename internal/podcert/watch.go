package podcert

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// sessionGap is the shortest time between the beginnings of two watches.
	sessionGap = time.Second
	// watchLife is the shortest life of a watch; it is up to twice as long.
	watchLife = 5 * time.Minute
)

// requests are the PodCertificateRequests that somebody waits for the answer to.
type requests struct {
	// wake holds one hint that waiting is another one.
	wake chan struct{}

	mu      sync.Mutex
	waiting map[types.NamespacedName]chan *certificatesv1.PodCertificateRequest
	// seen are the answered requests of the node while they are watched: the answer
	// may be there before anybody waits for it.
	seen map[types.NamespacedName]*certificatesv1.PodCertificateRequest
}

// verdict is the condition that answers a request; nil: it is still open.
func verdict(r *certificatesv1.PodCertificateRequest) *metav1.Condition {
	for i := range r.Status.Conditions {
		switch r.Status.Conditions[i].Type {
		case certificatesv1.PodCertificateRequestConditionTypeDenied, certificatesv1.PodCertificateRequestConditionTypeFailed,
			certificatesv1.PodCertificateRequestConditionTypeIssued:
			return &r.Status.Conditions[i]
		}
	}
	return nil
}

// follow returns where the answered request will be sent to; nil is sent when it has
// gone away without an answer.
func (o *requests) follow(name types.NamespacedName) <-chan *certificatesv1.PodCertificateRequest {
	answers := make(chan *certificatesv1.PodCertificateRequest, 1)
	o.mu.Lock()
	defer o.mu.Unlock()
	if answered := o.seen[name]; answered != nil {
		answers <- answered
		return answers
	}
	o.waiting[name] = answers
	hint(o.wake)
	return answers
}

func (o *requests) unfollow(name types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.waiting, name)
	hint(o.wake)
}

// names are those of the requests that are waited for.
func (o *requests) names() []types.NamespacedName {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Keys(o.waiting))
}

// listed takes the whole state. A request that was waited for before the question,
// and is not there, has gone away.
func (o *requests) listed(items []certificatesv1.PodCertificateRequest, before []types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = map[types.NamespacedName]*certificatesv1.PodCertificateRequest{}
	there := map[types.NamespacedName]bool{}
	for i := range items {
		there[o.is(&items[i])] = true
	}
	for _, name := range before {
		if !there[name] {
			o.answer(name, nil)
		}
	}
}

// changed takes one event.
func (o *requests) changed(kind watch.EventType, r *certificatesv1.PodCertificateRequest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name := o.is(r)
	if kind == watch.Deleted {
		delete(o.seen, name)
		o.answer(name, nil)
	}
}

// is takes what a request is now. The caller holds the lock.
func (o *requests) is(r *certificatesv1.PodCertificateRequest) types.NamespacedName {
	name := types.NamespacedName{Namespace: r.Namespace, Name: r.Name}
	if verdict(r) != nil {
		o.seen[name] = r
		o.answer(name, r)
	}
	return name
}

func (o *requests) answer(name types.NamespacedName, r *certificatesv1.PodCertificateRequest) {
	if answers, waiting := o.waiting[name]; waiting {
		delete(o.waiting, name)
		answers <- r // it has room for the one answer
	}
}

func (o *requests) unwatched() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = nil
}

// watch watches the node's requests while one is waited for, until ctx ends.
func (m *Manager) watch(ctx context.Context) {
	for failures := 0; ; {
		if len(m.open.names()) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-m.open.wake:
			}
			continue
		}
		until := time.Now().Add(sessionGap)
		err := m.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			failures = 0
		} else {
			if failures == 0 {
				m.log.Warn("cannot see how the requests for certificates of pods are answered; it is tried again with growing pauses", zap.Error(err))
			}
			until = time.Now().Add(pause(failures))
			failures++
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(until)):
		}
	}
}

// session lists and watches until nobody waits, or the watch ends.
func (m *Manager) session(ctx context.Context) error {
	defer m.open.unwatched()
	opts := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", m.node).String()}
	before := m.open.names()
	bounded, cancel := context.WithTimeout(ctx, askTimeout)
	list, err := m.deps.Client.List(bounded, opts)
	cancel()
	if err != nil {
		return fmt.Errorf("list the PodCertificateRequests of node %s: %w", m.node, err)
	}
	m.open.listed(list.Items, before)
	opts.ResourceVersion, opts.AllowWatchBookmarks = list.ResourceVersion, true
	life := int64((watchLife + rand.N(watchLife)).Seconds()) //nolint:gosec // it spreads load, and keeps nothing secret
	opts.TimeoutSeconds = &life
	w, err := m.deps.Client.Watch(ctx, opts)
	if err != nil {
		return fmt.Errorf("watch the PodCertificateRequests of node %s: %w", m.node, err)
	}
	defer w.Stop()
	for len(m.open.names()) > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-m.open.wake:
		case event, more := <-w.ResultChan():
			if !more {
				return nil
			}
			if event.Type == watch.Error {
				return fmt.Errorf("watch the PodCertificateRequests of node %s: %w", m.node, apierrors.FromObject(event.Object))
			}
			if r, is := event.Object.(*certificatesv1.PodCertificateRequest); is && event.Type != watch.Bookmark {
				m.open.changed(event.Type, r)
			}
		}
	}
	return nil
}
