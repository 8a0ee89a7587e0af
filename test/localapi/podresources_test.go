//go:build e2e

package localapi

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	v1 "k8s.io/kubelet/pkg/apis/podresources/v1"
	"k8s.io/kubelet/pkg/apis/podresources/v1alpha1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// TestPodResources: who holds something, container by container. Nobody has CPUs,
// memory, devices or claims of his own on this node.
func TestPodResources(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	bedtest.Create(t, b, withSidecar(bedtest.NewPod("held", 1, bedtest.Obeys, bedtest.Obeys)))
	done := bedtest.NewPod("held-no-more", 1, "exit 0")
	done.Spec.RestartPolicy = corev1.RestartPolicyNever
	bedtest.Create(t, b, done)
	await(t, b, "held", "ready", bedtest.Ready)
	await(t, b, "held-no-more", "done", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	conn := dial(t, b, "pod-resources", "kubelet.sock")
	client := v1.NewPodResourcesListerClient(conn)

	list, err := client.List(ctx, &v1.ListPodResourcesRequest{})
	must(t, "List", err)
	var found *v1.PodResources
	for _, p := range list.GetPodResources() {
		switch p.GetName() {
		case "held":
			found = p
		case "held-no-more":
			t.Error("a pod that has ended is listed")
		}
	}
	const want = `name:"held" namespace:"default" containers:{name:"side"} containers:{name:"a"} containers:{name:"b"}`
	if got := plain(found.String()); got != want {
		t.Errorf("List: %s\nwant %s", got, want)
	}
	one, err := client.Get(ctx, &v1.GetPodResourcesRequest{PodNamespace: "default", PodName: "held"})
	must(t, "Get", err)
	if got := plain(one.GetPodResources().String()); got != want {
		t.Errorf("Get: %s\nwant %s", got, want)
	}
	for _, name := range []string{"held-no-more", "nobody", ""} {
		_, err := client.Get(ctx, &v1.GetPodResourcesRequest{PodNamespace: "default", PodName: name})
		if s := status.Convert(err); s.Code() != codes.Unknown || s.Message() != "pod "+name+" in namespace default not found" {
			t.Errorf("Get of %q: %v", name, err)
		}
	}
	all, err := client.GetAllocatableResources(ctx, &v1.AllocatableResourcesRequest{})
	must(t, "GetAllocatableResources", err)
	if got := plain(all.String()); got != "" {
		t.Errorf("GetAllocatableResources: %s", got)
	}
	old, err := v1alpha1.NewPodResourcesListerClient(conn).List(ctx, &v1alpha1.ListPodResourcesRequest{})
	must(t, "List of v1alpha1", err)
	seen := map[string]string{}
	for _, p := range old.GetPodResources() {
		seen[p.GetName()] = plain(p.String())
	}
	for name, want := range map[string]string{
		"held":         `name:"held" namespace:"default" containers:{name:"a"} containers:{name:"b"}`,
		"held-no-more": `name:"held-no-more" namespace:"default" containers:{name:"a"}`,
	} {
		if seen[name] != want {
			t.Errorf("v1alpha1: %s\nwant %s", seen[name], want)
		}
	}
	metrics := direct(t, b).ask(t, "GET", "/metrics").body
	for _, series := range []string{
		`requests_total{server_api_version="v1"} `, `requests_total{server_api_version="v1alpha1"} `, `requests_list{server_api_version="v1"} `,
		`requests_get{server_api_version="v1"} `, `requests_get_allocatable{server_api_version="v1"} `, `errors_get{server_api_version="v1"} `,
	} {
		if !strings.Contains(metrics, "\nkubelet_pod_resources_endpoint_"+series) {
			t.Errorf("no metric %s", series)
		}
	}
}

// TestPodResourcesLimit: a flood is refused, and not for long.
func TestPodResourcesLimit(t *testing.T) {
	b := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := v1.NewPodResourcesListerClient(dial(t, b, "pod-resources", "kubelet.sock"))
	for {
		_, err := client.GetAllocatableResources(ctx, &v1.AllocatableResourcesRequest{})
		if s := status.Convert(err); s.Code() == codes.ResourceExhausted && s.Message() == "rejected by rate limit" {
			break
		}
		must(t, "a call before the limit is reached", err)
	}
	for {
		if _, err := client.GetAllocatableResources(ctx, &v1.AllocatableResourcesRequest{}); err == nil {
			break
		}
		must(t, "waiting to be let in again", ctx.Err())
	}
}

// plain takes the spaces away of which a message's text has one or two, at random.
func plain(text string) string { return strings.ReplaceAll(text, "  ", " ") }
