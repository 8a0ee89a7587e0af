package admission

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestWhatDoesNotFit(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	initial := func(policy *corev1.ContainerRestartPolicy, requests ...string) corev1.Container {
		return corev1.Container{Name: "i", RestartPolicy: policy, Resources: corev1.ResourceRequirements{Requests: res(requests...)}}
	}
	r := rules(t)
	for _, c := range []struct {
		name            string
		pod             *corev1.Pod
		others          []*corev1.Pod
		reason, message string
	}{
		{name: "all of it", pod: aPod("p", "cpu", "4", "memory", "8Gi", "ephemeral-storage", "10Gi", "example.com/gpu", "2")},
		{name: "cpu", pod: aPod("p", "cpu", "1001m"), others: []*corev1.Pod{aPod("o", "cpu", "3")},
			reason: "OutOfcpu", message: "Node didn't have enough resource: cpu, requested: 1001, used: 3000, capacity: 4000"},
		{name: "memory", pod: aPod("p", "memory", "8Gi"), others: []*corev1.Pod{aPod("o", "memory", "1")},
			reason: "OutOfmemory", message: "Node didn't have enough resource: memory, requested: 8589934592, used: 1, capacity: 8589934592"},
		{name: "ephemeral storage", pod: aPod("p", "ephemeral-storage", "11Gi"),
			reason: "OutOfephemeral-storage", message: "Node didn't have enough resource: ephemeral-storage, requested: 11811160064, used: 0, capacity: 10737418240"},
		{name: "extended", pod: aPod("p", "example.com/gpu", "2"), others: []*corev1.Pod{aPod("o", "example.com/gpu", "1")},
			reason: "OutOfexample.com/gpu", message: "Node didn't have enough resource: example.com/gpu, requested: 2, used: 1, capacity: 2"},
		{name: "extended, not the node's", pod: aPod("p", "example.com/licence", "7")},
		{name: "huge pages are the node's", pod: aPod("p", "hugepages-2Mi", "2Mi"),
			reason: "OutOfhugepages-2Mi", message: "Node didn't have enough resource: hugepages-2Mi, requested: 2097152, used: 0, capacity: 0"},
		{name: "Kubernetes' own are the node's", pod: aPod("p", "node.kubernetes.io/slots", "1"),
			reason: "OutOfnode.kubernetes.io/slots", message: "Node didn't have enough resource: node.kubernetes.io/slots, requested: 1, used: 0, capacity: 0"},
		{name: "nonsense is nobody's", pod: aPod("p", "storage", "1", "a b/c", "1", "requests.example.com/x", "1")},
		{name: "cpu comes before memory", pod: aPod("p", "memory", "9Gi", "cpu", "5"),
			reason: "OutOfcpu", message: "Node didn't have enough resource: cpu, requested: 5000, used: 0, capacity: 4000"},
		{name: "overhead", pod: with(aPod("p", "cpu", "4"), func(p *corev1.Pod) { p.Spec.Overhead = res("cpu", "250m") }),
			reason: "OutOfcpu", message: "Node didn't have enough resource: cpu, requested: 4250, used: 0, capacity: 4000"},
		{name: "an init container", pod: with(aPod("p", "cpu", "1"), func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{initial(nil, "cpu", "5")} }),
			reason: "OutOfcpu", message: "Node didn't have enough resource: cpu, requested: 5000, used: 0, capacity: 4000"},
		{name: "init containers are not added up", pod: with(aPod("p", "cpu", "3"), func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{initial(nil, "cpu", "3"), initial(nil, "cpu", "2")}
		})},
		{name: "a sidecar", pod: with(aPod("p", "cpu", "2"), func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{initial(&always, "cpu", "3")} }),
			reason: "OutOfcpu", message: "Node didn't have enough resource: cpu, requested: 5000, used: 0, capacity: 4000"},
		{name: "for the pod as a whole", pod: with(aPod("p", "cpu", "1"), func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Requests: res("cpu", "5")}
		}), reason: "OutOfcpu", message: "Node didn't have enough resource: cpu, requested: 5000, used: 0, capacity: 4000"},
		{name: "beyond counting", pod: aPod("p", "cpu", "9223372036854775807"),
			reason: "OutOfcpu", message: "Node didn't have enough resource: cpu, requested: 9223372036854775807, used: 0, capacity: 4000"},
		{name: "beyond counting together", pod: aPod("p", "memory", "1"), others: []*corev1.Pod{aPod("o", "memory", "9223372036854775807"), aPod("o2", "memory", "9223372036854775807")},
			reason: "OutOfmemory", message: "Node didn't have enough resource: memory, requested: 1, used: 9223372036854775807, capacity: 8589934592"},
		{name: "an exponent that nobody can calculate with", pod: aPod("p", "cpu", "1e2147483647"),
			reason: "OutOfcpu", message: "Node didn't have enough resource: cpu, requested: 9223372036854775807, used: 0, capacity: 4000"},
		{name: "the same below zero", pod: with(aPod("p", "cpu", "1"), func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{initial(&always, "cpu", "-1e2147483647")}
		}), others: []*corev1.Pod{aPod("o", "cpu", "-1e2147483647"), aPod("o2", "cpu", "3")}},
		{name: "less than nothing makes no room", pod: aPod("p", "cpu", "4"), others: []*corev1.Pod{aPod("o", "cpu", "1"), aPod("o2", "cpu", "-1")},
			reason: "OutOfcpu", message: "Node didn't have enough resource: cpu, requested: 4000, used: 1000, capacity: 4000"},
		{name: "nothing fits everywhere", pod: aPod("p"), others: []*corev1.Pod{aPod("o", "cpu", "400")}},
		{name: "itself is not counted", pod: aPod("p", "cpu", "3"), others: []*corev1.Pod{aPod("p", "cpu", "3")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantReject(t, r.Admit(c.pod, false, tenants(r, c.others), aNode()), c.reason, c.message)
		})
	}
}

func TestTooManyPods(t *testing.T) {
	var others []*corev1.Pod
	for i := range 10 {
		others = append(others, aPod(fmt.Sprint("o", i)))
	}
	r := rules(t)
	wantReject(t, r.Admit(aPod("p"), false, tenants(r, others[1:]), aNode()), "", "")
	wantReject(t, r.Admit(aPod("p", "cpu", "5"), false, tenants(r, others), aNode()), "OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 10, capacity: 10")
}

func TestWhatAPodHasWhileItIsResized(t *testing.T) {
	r := rules(t)
	shrinking := aPod("o", "cpu", "1")
	shrinking.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", AllocatedResources: res("cpu", "1"),
		Resources: &corev1.ResourceRequirements{Requests: res("cpu", "3")}}}
	wantReject(t, r.Admit(aPod("p", "cpu", "2"), false, tenants(r, []*corev1.Pod{shrinking}), aNode()), "OutOfcpu",
		"Node didn't have enough resource: cpu, requested: 2000, used: 3000, capacity: 4000")
}

func TestRequestsThatBecameClaims(t *testing.T) {
	r := rules(t)
	claimed := func(container string) *corev1.Pod {
		return with(aPod("p", "example.com/gpu", "3", "deviceclass.resource.kubernetes.io/gpu", "1"), func(p *corev1.Pod) {
			p.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{RequestMappings: []corev1.ContainerExtendedResourceRequest{
				{ContainerName: container, ResourceName: "example.com/gpu"},
				{ContainerName: "c", ResourceName: "deviceclass.resource.kubernetes.io/gpu"},
				{ContainerName: "c", ResourceName: "cpu"},
			}}
		})
	}
	wantReject(t, r.Admit(claimed("c"), false, nil, aNode()), "", "")
	wantReject(t, r.Admit(claimed("other"), false, nil, aNode()), "OutOfexample.com/gpu",
		"Node didn't have enough resource: example.com/gpu, requested: 3, used: 0, capacity: 2")
}

func TestInsufficientNamesEverything(t *testing.T) {
	r := rules(t)
	p := aPod("p", "example.com/b", "2", "memory", "2Gi", "cpu", "2", "example.com/a", "2", "ephemeral-storage", "1")
	others := []*corev1.Pod{aPod("o", "cpu", "500m", "example.com/b", "1")}
	allocatable := res("pods", "1", "cpu", "2", "memory", "1Gi", "ephemeral-storage", "1", "example.com/a", "1", "example.com/b", "0")
	want := []Shortage{
		{"pods", 1, 1, 1}, {"cpu", 2000, 500, 2000}, {"memory", 2 << 30, 0, 1 << 30},
		{"example.com/a", 2, 0, 1}, {"example.com/b", 2, 1, 0},
	}
	if diff := cmp.Diff(want, r.Insufficient(p, tenants(r, others), allocatable)); diff != "" {
		t.Fatal(diff)
	}
	if got := p.Spec.Containers[0].Resources.Requests; len(got) != 5 {
		t.Fatalf("the pod was changed: %v", got)
	}
}
