package status

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/util/workqueue"
)

const (
	// senders is how many pods are served at the same time.
	senders = 8
	// requestTimeout bounds one request; a newer status must not wait longer.
	requestTimeout = 10 * time.Second
	retryMin       = 100 * time.Millisecond
	retryMax       = 2 * time.Second
)

// Writer sends the newest status of each pod. The zero value is not usable.
type Writer struct {
	pods  typedcorev1.PodsGetter
	log   *zap.Logger
	queue workqueue.TypedDelayingInterface[types.UID]

	mu      sync.Mutex
	entries map[types.UID]*entry
}

// entry is what is to be said of one pod, and what the API last said of it.
type entry struct {
	pod      *corev1.Pod
	status   corev1.PodStatus
	finished bool
	// base is the status the API is known to hold, at version of the object.
	base    corev1.PodStatus
	version string
	retries int
	// inflight: a request is under way, so base is about to change.
	inflight bool
}

// New returns a writer; nothing is sent before [Writer.Run].
func New(pods typedcorev1.PodsGetter, log *zap.Logger) *Writer {
	return &Writer{
		pods: pods, log: log,
		queue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[types.UID]{Name: "pod_status"}),

		entries: map[types.UID]*entry{},
	}
}

// Publish hands over the newest status of a pod. p is the newest object known;
// neither is changed by the writer nor may they be by the caller. With finished
// an object that is marked for deletion is deleted once its status is sent.
func (w *Writer) Publish(p *corev1.Pod, status corev1.PodStatus, finished bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entries[p.UID]
	if e == nil {
		e = &entry{}
		w.entries[p.UID] = e
	}
	if e.version == "" || newer(p.ResourceVersion, e.version) {
		e.base, e.version = p.Status, p.ResourceVersion
	}
	e.pod, e.status, e.finished = p, status, e.finished || finished
	if !e.finished && !e.inflight && same(e) {
		return
	}
	w.queue.Add(p.UID)
}

// Forget drops what is still to be sent of a pod: its object is gone.
func (w *Writer) Forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.entries, uid)
}

// Pending is the number of pods whose newest status the API does not hold yet.
func (w *Writer) Pending() int { return w.queue.Len() }

// Run sends until ctx ends and every request has come back.
func (w *Writer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for {
				uid, shutdown := w.queue.Get()
				if shutdown {
					return
				}
				w.serve(ctx, uid)
				w.queue.Done(uid)
			}
		})
	}
	<-ctx.Done()
	w.queue.ShutDown()
	wg.Wait()
	return nil
}

// serve sends what is newest for one pod.
func (w *Writer) serve(ctx context.Context, uid types.UID) {
	w.mu.Lock()
	e := w.entries[uid]
	if e == nil || ctx.Err() != nil {
		w.mu.Unlock()
		return
	}
	snapshot := *e
	e.inflight = true
	w.mu.Unlock()

	err := w.send(ctx, &snapshot)
	w.mu.Lock()
	e.inflight = false
	if w.entries[uid] != e {
		w.mu.Unlock()
		return // forgotten meanwhile
	}
	switch {
	case err == nil:
		e.retries = 0
		if newer(snapshot.version, e.version) {
			e.base, e.version = snapshot.base, snapshot.version
		}
		if snapshot.finished && e.finished {
			delete(w.entries, uid)
		}
		w.mu.Unlock()
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
		// Another object, or none, goes by this name now.
		delete(w.entries, uid)
		w.mu.Unlock()
		w.log.Debug("the pod's object is gone", zap.String("uid", string(uid)), zap.Error(err))
	default:
		e.retries++
		pause := backoff(e.retries)
		w.mu.Unlock()
		w.retry(ctx, uid, &snapshot, pause, err)
	}
}

// retry comes back to a pod later. When the server, not the pod, is the
// problem, the sender rests too: an outage must not be met with a storm.
func (w *Writer) retry(ctx context.Context, uid types.UID, e *entry, pause time.Duration, err error) {
	if e.retries == 0 || e.retries%20 == 0 {
		w.log.Warn("cannot send the pod's status, will retry", zap.String("pod", e.pod.Namespace+"/"+e.pod.Name), zap.Error(err))
	}
	if !serverProblem(err) {
		w.queue.AddAfter(uid, pause)
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(pause):
		w.queue.Add(uid)
	}
}

// send brings the API to the entry's status, then ends the object if it may go.
func (w *Writer) send(ctx context.Context, e *entry) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	p := e.pod
	patch, err := patchFor(e)
	if err != nil {
		return fmt.Errorf("working out the status patch of pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	if patch != nil {
		got, err := w.pods.Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if err != nil {
			return fmt.Errorf("patching the status of pod %s/%s: %w", p.Namespace, p.Name, err)
		}
		e.base, e.version = got.Status, got.ResourceVersion
	}
	if !e.finished || p.DeletionTimestamp == nil {
		return nil
	}
	now, uid := int64(0), p.UID
	err = w.pods.Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil {
		return fmt.Errorf("deleting pod %s/%s after its end: %w", p.Namespace, p.Name, err)
	}
	return nil
}

// serverProblem reports whether an error says something of the server rather
// than of the request.
func serverProblem(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true // the connection
	}
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) || apierrors.IsUnauthorized(err)
}

// backoff doubles from retryMin to retryMax, with jitter so that nodes do not
// come back in step.
func backoff(n int) time.Duration {
	d := min(retryMin<<min(n-1, 10), retryMax)
	return d/2 + rand.N(d/2) //nolint:gosec // jitter needs no secrecy
}
