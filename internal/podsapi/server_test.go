package podsapi

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	v1alpha1 "k8s.io/kubelet/pkg/apis/pods/v1alpha1"

	"nodeagent.dev/nodeagent/internal/pod"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a node whose pods the test makes up.
type node struct {
	t       *testing.T
	mu      sync.Mutex
	views   map[types.UID]*pod.View
	unknown bool
	server  *Server
	client  v1alpha1.PodsClient
	stop    func()
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, views: map[types.UID]*pod.View{}}
	root := t.TempDir()
	n.server = New(root, n, zaptest.NewLogger(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.server.Run(ctx) }()
	conn, err := grpc.NewClient("unix://"+SocketPath(root), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	n.client = v1alpha1.NewPodsClient(conn)
	n.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Error("the server does not end")
		}
	})
	t.Cleanup(func() {
		n.stop()
		_ = conn.Close()
	})
	return n
}

func (n *node) Views() []*pod.View {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []*pod.View
	for _, v := range n.views {
		all = append(all, v)
	}
	return all
}

func (n *node) View(uid types.UID) *pod.View {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.views[uid]
}

func (n *node) Known() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.unknown
}

// put replaces a view and tells so.
func (n *node) put(v *pod.View) {
	n.mu.Lock()
	n.views[v.Ref.UID] = v
	n.mu.Unlock()
	n.server.Changed(v.Ref.UID)
}

// drop removes a view and tells so.
func (n *node) drop(uid types.UID) {
	n.mu.Lock()
	delete(n.views, uid)
	n.mu.Unlock()
	n.server.Changed(uid)
}

// sees returns a view of a pod.
func sees(uid string, phase corev1.PodPhase, change ...func(*pod.View)) *pod.View {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "name-" + uid, UID: types.UID(uid),
		Labels: map[string]string{"b": "1", "a": "2", "c": "3"}}}
	p.Spec.NodeName = "n"
	p.Status.Phase = "what the object says"
	v := &pod.View{Ref: pod.RefOf(p), Pod: p, Stage: "Syncing"}
	v.Status.Phase = phase
	for _, f := range change {
		f(v)
	}
	return v
}

// decoded reads a pod of the API.
func decoded(t *testing.T, raw []byte) *corev1.Pod {
	t.Helper()
	var p corev1.Pod
	if err := p.Unmarshal(raw); err != nil {
		t.Fatal(err)
	}
	return &p
}

func short(p *corev1.Pod) string {
	return fmt.Sprintf("%s %s/%s %s %q", p.UID, p.Namespace, p.Name, p.Spec.NodeName, p.Status.Phase)
}

func TestListAndGet(t *testing.T) {
	n := newNode(t)
	n.put(sees("u2", corev1.PodRunning))
	n.put(sees("u1", corev1.PodPending))
	n.put(sees("u3", corev1.PodRunning, func(v *pod.View) { v.Pod = nil }))
	n.put(sees("u4", corev1.PodSucceeded, func(v *pod.View) { v.Stage = "Terminated" }))
	list, err := n.client.ListPods(t.Context(), &v1alpha1.ListPodsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, raw := range list.GetPods() {
		got = append(got, short(decoded(t, raw)))
	}
	want := `u1 ns/name-u1 n "Pending", u2 ns/name-u2 n "Running", u4 ns/name-u4 n "Succeeded"`
	if all := strings.Join(got, ", "); all != want {
		t.Errorf("got %s\nwant %s", all, want)
	}
	one, err := n.client.GetPod(t.Context(), &v1alpha1.GetPodRequest{PodUID: "u2"})
	if err != nil || short(decoded(t, one.GetPod())) != `u2 ns/name-u2 n "Running"` {
		t.Errorf("%v, %v", one, err)
	}
	if n.View("u2").Pod.Status.Phase != "what the object says" {
		t.Error("the pod of the snapshot was written to")
	}
	for _, uid := range []string{"u3", "u9", ""} {
		_, err := n.client.GetPod(t.Context(), &v1alpha1.GetPodRequest{PodUID: uid})
		if s := status.Convert(err); s.Code() != codes.NotFound || s.Message() != "pod with UID "+uid+" not found" {
			t.Errorf("%q: %v", uid, err)
		}
	}
}

func TestBeforePodsAreKnown(t *testing.T) {
	n := newNode(t)
	n.unknown = true
	_, listing := n.client.ListPods(t.Context(), &v1alpha1.ListPodsRequest{})
	_, getting := n.client.GetPod(t.Context(), &v1alpha1.GetPodRequest{PodUID: "u"})
	w, err := n.client.WatchPods(t.Context(), &v1alpha1.WatchPodsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, watching := w.Recv()
	for what, err := range map[string]error{"list": listing, "get": getting, "watch": watching} {
		if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != notYet {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// watch begins to watch and returns what is received next, as text.
func (n *node) watch() func() string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	n.t.Cleanup(cancel)
	w, err := n.client.WatchPods(ctx, &v1alpha1.WatchPodsRequest{})
	if err != nil {
		n.t.Fatal(err)
	}
	return func() string {
		e, err := w.Recv()
		switch {
		case err != nil:
			return "error " + status.Code(err).String()
		case len(e.GetPod()) == 0:
			return e.GetType().String()
		}
		return e.GetType().String() + " " + short(decoded(n.t, e.GetPod()))
	}
}

// expect reads events and compares them.
func expect(t *testing.T, next func() string, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := next(); got != w {
			t.Fatalf("got %q, want %q", got, w)
		}
	}
}

func TestWatch(t *testing.T) {
	n := newNode(t)
	n.put(sees("u2", corev1.PodRunning))
	n.put(sees("u1", corev1.PodSucceeded, func(v *pod.View) { v.Stage = "Terminated" }))
	next := n.watch()
	expect(t, next, `ADDED u1 ns/name-u1 n "Succeeded"`, `ADDED u2 ns/name-u2 n "Running"`, "INITIAL_SYNC_COMPLETE")
	n.put(sees("u3", corev1.PodPending))
	expect(t, next, `ADDED u3 ns/name-u3 n "Pending"`)
	n.put(sees("u3", corev1.PodPending, func(v *pod.View) { v.Timeline = []pod.Entry{{Text: "of no interest"}} }))
	n.put(sees("u3", corev1.PodRunning))
	expect(t, next, `MODIFIED u3 ns/name-u3 n "Running"`)
	n.put(sees("u3", corev1.PodRunning, func(v *pod.View) { v.Pod.Labels["new"] = "label" }))
	expect(t, next, `MODIFIED u3 ns/name-u3 n "Running"`)
	// The end is told once, however often there is another view.
	n.put(sees("u3", corev1.PodSucceeded, func(v *pod.View) { v.Stage = "Terminated" }))
	expect(t, next, `DELETED u3 ns/name-u3  ""`)
	n.put(sees("u3", corev1.PodFailed, func(v *pod.View) { v.Stage = "Terminated" }))
	n.drop("u3")
	n.drop("u2")
	expect(t, next, `DELETED u2 ns/name-u2  ""`)
	// Nobody hears of pods that have no object.
	n.put(sees("u4", corev1.PodRunning, func(v *pod.View) { v.Pod = nil }))
	n.drop("u4")
	n.drop("u1")
	expect(t, next, `DELETED u1 ns/name-u1  ""`)
	n.put(sees("u2", corev1.PodPending))
	expect(t, next, `ADDED u2 ns/name-u2 n "Pending"`)
	n.stop()
	if got := next(); !strings.HasPrefix(got, "error ") {
		t.Errorf("after the end: %s", got)
	}
}

// TestASlowWatcher: one that reads nothing holds up nobody, takes no memory for
// what it misses, and then learns how all pods are.
func TestASlowWatcher(t *testing.T) {
	n := newNode(t)
	large := strings.Repeat("x", 100<<10)
	put := func(round, i int) {
		n.put(sees(fmt.Sprintf("u%02d", i), corev1.PodRunning, func(v *pod.View) {
			v.Status.Message = fmt.Sprint(round)
			v.Pod.Annotations = map[string]string{"large": large}
		}))
	}
	const pods, rounds = 20, 200
	slow, fast := n.watch(), n.watch()
	expect(t, slow, "INITIAL_SYNC_COMPLETE")
	expect(t, fast, "INITIAL_SYNC_COMPLETE")
	heard := make(chan int)
	go func() {
		events := 0
		for seen := map[string]bool{}; len(seen) < pods; events++ {
			seen[fast()] = true
		}
		heard <- events
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for round := range rounds {
		for i := range pods {
			put(round, i)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("%d MiB for %d MiB of changes", grown>>20, rounds*pods*len(large)>>20)
	}
	select {
	case <-heard:
	case <-time.After(30 * time.Second):
		t.Fatal("a watcher that reads does not hear of all pods")
	}
	events := 0
	for seen := map[string]bool{}; len(seen) < pods; events++ {
		seen[slow()] = true
	}
	t.Logf("the slow one got %d events for %d changes", events, pods*rounds)
}

func TestTooManyWatchers(t *testing.T) {
	n := newNode(t)
	for range maxWatchers {
		if n.server.watchers.join(maxWatchers) == nil {
			t.Fatal("refused too early")
		}
	}
	expect(t, n.watch(), "error ResourceExhausted")
}

// TestNobodyStays: a watcher that has gone is told nothing any more.
func TestNobodyStays(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	w, err := n.client.WatchPods(ctx, &v1alpha1.WatchPodsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	for deadline := time.Now().Add(30 * time.Second); n.server.watchers.some.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the watcher is still there")
		}
	}
}

func TestCounters(t *testing.T) {
	n := newNode(t)
	_, _ = n.client.ListPods(t.Context(), &v1alpha1.ListPodsRequest{})
	_, _ = n.client.GetPod(t.Context(), &v1alpha1.GetPodRequest{})
	ctx, cancel := context.WithCancel(t.Context())
	w, err := n.client.WatchPods(ctx, &v1alpha1.WatchPodsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := w.Recv(); status.Code(err) != codes.Canceled && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	n.stop() // the watch is counted when it has ended
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(n.server.Collectors()...)
	want := []string{
		`kubelet_pod_requests_get_total{server_api_version="v1alpha1",status_code="NotFound"} 1`,
		`kubelet_pod_requests_list_total{server_api_version="v1alpha1",status_code="OK"} 1`,
		`kubelet_pod_requests_total{server_api_version="v1alpha1",status_code="Canceled"} 1`,
		`kubelet_pod_requests_total{server_api_version="v1alpha1",status_code="NotFound"} 1`,
		`kubelet_pod_requests_total{server_api_version="v1alpha1",status_code="OK"} 1`,
		`kubelet_pod_requests_watch_total{server_api_version="v1alpha1",status_code="Canceled"} 1`,
		`kubelet_pod_watch_events_dropped_total 0`,
	}
	if diff := cmp.Diff(want, series(t, reg)); diff != "" {
		t.Error(diff)
	}
}

// series are the samples of a registry, sorted, as text.
func series(t *testing.T, reg *prometheus.Registry) []string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			name := f.GetName()
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			all = append(all, fmt.Sprintf("%s %v", name, m.GetCounter().GetValue()))
		}
	}
	return all
}
