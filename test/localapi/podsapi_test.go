//go:build e2e

package localapi

import (
	"context"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	v1alpha1 "k8s.io/kubelet/pkg/apis/pods/v1alpha1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// decoded reads a pod of the API.
func decoded(t *testing.T, raw []byte) *corev1.Pod {
	t.Helper()
	var p corev1.Pod
	must(t, "reading a pod", p.Unmarshal(raw))
	return &p
}

// watching is a watch of the pods API.
type watching struct {
	t      *testing.T
	stream v1alpha1.Pods_WatchPodsClient
}

// next returns the next event about a pod, or the mark (nil).
func (w watching) next() (v1alpha1.EventType, *corev1.Pod) {
	w.t.Helper()
	e, err := w.stream.Recv()
	must(w.t, "the next event", err)
	if e.GetType() == v1alpha1.EventType_INITIAL_SYNC_COMPLETE {
		return e.GetType(), nil
	}
	return e.GetType(), decoded(w.t, e.GetPod())
}

// until reads events about a pod until done says so, and returns their types.
func (w watching) until(name string, done func(v1alpha1.EventType, *corev1.Pod) bool) []v1alpha1.EventType {
	w.t.Helper()
	var seen []v1alpha1.EventType
	for {
		kind, p := w.next()
		if p == nil {
			w.t.Fatal("the mark comes a second time")
		}
		if p.Name != name {
			continue
		}
		if seen = append(seen, kind); done(kind, p) {
			return seen
		}
	}
}

func ready(_ v1alpha1.EventType, p *corev1.Pod) bool { return bedtest.Ready(p) }

func deleted(kind v1alpha1.EventType, _ *corev1.Pod) bool { return kind == v1alpha1.EventType_DELETED }

// TestPodsAPI: a pod's life, as programs of the node see it.
func TestPodsAPI(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), aLife)
	defer cancel()
	bedtest.Create(t, b, bedtest.NewPod("before", 1, bedtest.Obeys))
	there := await(t, b, "before", "ready", bedtest.Ready)
	client := v1alpha1.NewPodsClient(dial(t, b, "pods-api", "pods-api.sock"))
	stream, err := client.WatchPods(ctx, &v1alpha1.WatchPodsRequest{})
	must(t, "WatchPods", err)
	w := watching{t, stream}

	var first []string
	for {
		kind, p := w.next()
		if p == nil {
			break
		}
		if kind == v1alpha1.EventType_ADDED {
			first = append(first, p.Name)
			if p.Name == "before" && (!bedtest.Ready(p) || p.UID != there.UID || p.Spec.NodeName != b.NodeName) {
				t.Errorf("the pod that was there is %+v", p)
			}
		}
	}
	if !slices.Contains(first, "before") {
		t.Errorf("the first list is %v", first)
	}

	bedtest.Create(t, b, bedtest.NewPod("watched", 1, bedtest.Obeys))
	if seen := w.until("watched", ready); seen[0] != v1alpha1.EventType_ADDED || slices.Contains(seen[1:], v1alpha1.EventType_ADDED) {
		t.Errorf("until it was ready: %v", seen)
	}
	p := await(t, b, "watched", "ready", bedtest.Ready)
	one, err := client.GetPod(ctx, &v1alpha1.GetPodRequest{PodUID: string(p.UID)})
	must(t, "GetPod", err)
	for what, got := range map[string]*corev1.Pod{"GetPod": decoded(t, one.GetPod()), "ListPods": listed(t, ctx, client, p.UID)} {
		if got == nil || !bedtest.Ready(got) || got.Status.PodIP != p.Status.PodIP || got.Spec.Containers[0].Image != bedtest.Image {
			t.Errorf("%s: %+v", what, got)
		}
	}
	_, err = client.GetPod(ctx, &v1alpha1.GetPodRequest{PodUID: "no-such-uid"})
	if s := status.Convert(err); s.Code() != codes.NotFound || s.Message() != "pod with UID no-such-uid not found" {
		t.Errorf("GetPod of none: %v", err)
	}

	grace := int64(1)
	must(t, "deleting the pod", b.Client().CoreV1().Pods(bedtest.Namespace).Delete(ctx, "watched", metav1.DeleteOptions{GracePeriodSeconds: &grace}))
	var last *corev1.Pod
	w.until("watched", func(kind v1alpha1.EventType, p *corev1.Pod) bool {
		if last = p; kind == v1alpha1.EventType_ADDED {
			t.Error("added again at its end")
		}
		return kind == v1alpha1.EventType_DELETED
	})
	if last.UID != p.UID || last.Namespace != p.Namespace || len(last.Spec.Containers) != 0 || last.Status.Phase != "" {
		t.Errorf("deleted: %+v", last)
	}
	// A pod whose work is done has ended although its object stays, and so do
	// lists have it.
	done := bedtest.NewPod("ends", 1, "exit 0")
	done.Spec.RestartPolicy = corev1.RestartPolicyNever
	bedtest.Create(t, b, done)
	w.until("ends", deleted)
	ended := await(t, b, "ends", "done", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	if got := listed(t, ctx, client, ended.UID); got == nil || got.Status.Phase != corev1.PodSucceeded {
		t.Errorf("after its end: %+v", got)
	}
	metrics := direct(t, b).ask(t, "GET", "/metrics").body
	for _, series := range []string{
		`requests_total{server_api_version="v1alpha1",status_code="OK"} `, `requests_list_total{server_api_version="v1alpha1",status_code="OK"} `,
		`requests_get_total{server_api_version="v1alpha1",status_code="NotFound"} `,
	} {
		if !strings.Contains(metrics, "\nkubelet_pod_"+series) {
			t.Errorf("no metric %s", series)
		}
	}
}

// listed returns a pod of the list, or nil.
func listed(t *testing.T, ctx context.Context, client v1alpha1.PodsClient, uid types.UID) *corev1.Pod { //nolint:revive // a helper of tests has t first
	t.Helper()
	list, err := client.ListPods(ctx, &v1alpha1.ListPodsRequest{})
	must(t, "ListPods", err)
	for _, raw := range list.GetPods() {
		if p := decoded(t, raw); p.UID == uid {
			return p
		}
	}
	return nil
}
