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
	// retryMax is how soon an API server that is back is noticed.
	retryMax = 2 * time.Second
	// retryPodMax is the same for a pod whose status is refused: only a change
	// of it is likely to help, and that is sent at once.
	retryPodMax = 10 * time.Second
	// complain is how many failures in a row are spoken of once.
	complain = 50
)

// Writer sends the newest status of each pod. The zero value is not usable.
type Writer struct {
	pods  typedcorev1.PodsGetter
	log   *zap.Logger
	queue workqueue.TypedDelayingInterface[types.UID]
	took  func(time.Duration)

	mu      sync.Mutex
	entries map[types.UID]*entry
	// outage counts the failures in a row, of whatever pods, that were the
	// server's. One count for all pods keeps the rate of requests from growing
	// with their number.
	outage int
	// line is whose status may be overtaken, in the order of their turns, lastTurn when
	// the last of them was sent, apart the time until the next may be, and clock goes
	// off at the next turn.
	line     []*turn
	lastTurn time.Time
	apart    time.Duration
	clock    *time.Timer
}

// entry is what is to be said of one pod, and what the API last said of it.
type entry struct {
	pod      *corev1.Pod
	status   corev1.PodStatus
	finished bool
	// base is the status the API is known to hold, at version of the object.
	base    corev1.PodStatus
	version string
	// retries counts how often in a row the status was refused.
	retries int
	// since is when the oldest change was handed over that nobody has sent.
	since time.Time
	// inflight: a request is under way, so base is about to change.
	inflight bool
	// turn is its place in the line, if it has one: it will be sent, overtaken or not.
	turn *turn
}

// New returns a writer; nothing is sent before [Writer.Run]. took, if not nil, is
// told how long each change waited from being handed over until the API server
// had it.
func New(pods typedcorev1.PodsGetter, took func(time.Duration), log *zap.Logger) *Writer {
	if took == nil {
		took = func(time.Duration) {}
	}
	w := &Writer{
		pods: pods, took: took, log: log,
		queue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[types.UID]{Name: "pod_status"}),

		entries: map[types.UID]*entry{}, apart: apart,
	}
	w.clock = time.AfterFunc(overtaken, w.takeTurns)
	return w
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
	// Of the same version the object's is taken, too: it is in memory anyway.
	if e.version == "" || e.version == p.ResourceVersion || newer(p.ResourceVersion, e.version) {
		e.base, e.version = p.Status, p.ResourceVersion
	}
	e.pod, e.status, e.finished = p, status, e.finished || finished
	if !e.finished && !e.inflight && same(e) {
		return
	}
	if e.since.IsZero() {
		e.since = time.Now()
	}
	switch urgencyOf(e) {
	case inTurn:
		w.lineUp(e)
	case shortly:
		w.queue.AddAfter(p.UID, overtaken)
	default:
		w.queue.Add(p.UID)
	}
}

// Forget drops what is still to be sent of a pod: its object is gone.
func (w *Writer) Forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.entries, uid)
}

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
	w.clock.Stop()
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
	e.inflight, e.turn, e.since = true, nil, time.Time{}
	w.mu.Unlock()

	err := w.send(ctx, &snapshot)
	if err != nil && ctx.Err() != nil {
		return // the end of the agent, not a failure
	}
	failures, rest := w.settle(uid, e, &snapshot, err)
	if failures == 0 {
		return
	}
	if failures%complain == 1 {
		w.log.Warn("cannot send the pod's status, will retry", zap.String("pod", snapshot.pod.Namespace+"/"+snapshot.pod.Name), zap.Error(err))
	}
	if !rest {
		w.queue.AddAfter(uid, backoff(failures, retryPodMax))
		return
	}
	// The senders fail side by side; together they count as one.
	select {
	case <-ctx.Done():
	case <-time.After(backoff((failures-1)/senders+1, retryMax)):
		w.queue.Add(uid)
	}
}

// settle takes in how the sending of a snapshot went. failures is 0 when there
// is nothing to try again. With rest the server, not the pod, is the problem,
// and the sender must rest: an outage must not be met with a storm.
func (w *Writer) settle(uid types.UID, e, snapshot *entry, err error) (failures int, rest bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.inflight = false
	if rest = err != nil && serverProblem(err); rest {
		w.outage++
	} else {
		w.outage = 0
	}
	if w.entries[uid] != e { // forgotten meanwhile
		return 0, false
	}
	if err != nil {
		e.since = snapshot.since
	}
	// What was patched before a DELETE failed is in the API all the same.
	if snapshot.version == e.version || newer(snapshot.version, e.version) {
		e.base, e.version = snapshot.base, snapshot.version
	}
	switch {
	case err == nil:
		e.retries = 0
		if !snapshot.since.IsZero() {
			w.took(time.Since(snapshot.since))
		}
		if snapshot.finished && snapshot.pod.DeletionTimestamp != nil {
			delete(w.entries, uid)
		}
		return 0, false
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
		// Another object, or none, goes by this name now.
		delete(w.entries, uid)
		w.log.Debug("the pod's object is gone", zap.String("uid", string(uid)), zap.Error(err))
		return 0, false
	case rest:
		return w.outage, true
	}
	e.retries++
	return e.retries, false
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
		began := time.Now()
		got, err := w.pods.Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if err != nil {
			return fmt.Errorf("patching the status of pod %s/%s: %w", p.Namespace, p.Name, err)
		}
		w.answered(time.Since(began))
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

// backoff doubles from retryMin to limit, with jitter so that nodes do not come
// back in step.
func backoff(n int, limit time.Duration) time.Duration {
	d := min(retryMin<<min(n-1, 10), limit)
	return d/2 + rand.N(d/2) //nolint:gosec // jitter needs no secrecy
}
