package containerspec

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
)

func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func resourcePod() *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "init"}},
		Containers: []corev1.Container{
			{Name: "c", Resources: corev1.ResourceRequirements{
				Limits:   list("cpu", "1500m", "memory", "1000000001", "hugepages-2Mi", "4Mi"),
				Requests: list("cpu", "250m", "memory", "64Mi", "ephemeral-storage", "1Gi", "hugepages-2Mi", "4Mi"),
			}},
			{Name: "bare", Resources: corev1.ResourceRequirements{Limits: list("cpu", "0")}},
		},
	}}
}

func TestResourceValue(t *testing.T) {
	allocatable := list("cpu", "3920m", "memory", "8Gi", "ephemeral-storage", "100Gi", "hugepages-2Mi", "1Gi")
	limited := corev1.ResourceRequirements{Limits: list("cpu", "2", "memory", "0")}
	for _, c := range []struct {
		in, named, resource, divisor string
		pod                          *corev1.ResourceRequirements
		none                         bool // the node's amounts are not known
		want, failure                string
	}{
		{in: "c", resource: "limits.cpu", want: "2"},
		{in: "c", resource: "limits.cpu", divisor: "1", want: "2"},
		{in: "c", resource: "limits.cpu", divisor: "1m", want: "1500"},
		{in: "c", resource: "requests.cpu", want: "1"},
		{in: "c", resource: "requests.cpu", divisor: "1m", want: "250"},
		{in: "c", resource: "limits.memory", want: "1000000001"},
		{in: "c", resource: "limits.memory", divisor: "1M", want: "1001"},
		{in: "c", resource: "requests.memory", divisor: "1Mi", want: "64"},
		{in: "c", resource: "requests.ephemeral-storage", divisor: "1Mi", want: "1024"},
		{in: "c", resource: "limits.hugepages-2Mi", divisor: "1Mi", want: "4"},
		{in: "c", resource: "requests.hugepages-2Mi", want: "4194304"},
		{in: "c", resource: "limits.ephemeral-storage", divisor: "1Gi", want: "100"},
		{in: "bare", resource: "limits.cpu", divisor: "1m", want: "3920"},
		{in: "bare", resource: "limits.memory", divisor: "1Gi", want: "8"},
		{in: "bare", resource: "limits.memory", none: true, want: "0"},
		{in: "bare", resource: "limits.hugepages-2Mi", want: "0"},
		{in: "bare", resource: "requests.cpu", want: "0"},
		{in: "bare", resource: "requests.hugepages-1Gi", want: "0"},
		{in: "bare", pod: &limited, resource: "limits.cpu", want: "2"},
		{in: "bare", pod: &limited, resource: "limits.memory", divisor: "1Gi", want: "8"},
		{in: "bare", pod: &limited, resource: "limits.cpu", none: true, want: "0"},
		{in: "c", pod: &limited, resource: "limits.cpu", divisor: "1m", want: "1500"},
		{in: "init", resource: "limits.cpu", want: "4"},
		{in: "c", named: "bare", resource: "limits.cpu", want: "4"},
		{in: "c", named: "init", resource: "limits.cpu", want: "0"},
		{in: "bare", named: "c", resource: "requests.memory", want: "67108864"},
		{in: "c", named: "none", resource: "limits.cpu", failure: "container none not found"},
		{in: "c", resource: "limits.nvidia.com/gpu", failure: "unsupported container resource : limits.nvidia.com/gpu"},
		{in: "c", resource: "cpu", failure: "unsupported container resource : cpu"},
		{in: "c", resource: "used.cpu", failure: "unsupported container resource : used.cpu"},
		{in: "c", resource: "", failure: "unsupported container resource : "},
	} {
		p := resourcePod()
		p.Spec.Resources = c.pod
		ref := &corev1.ResourceFieldSelector{ContainerName: c.named, Resource: c.resource}
		if c.divisor != "" {
			ref.Divisor = resource.MustParse(c.divisor)
		}
		has := allocatable
		if c.none {
			has = nil
		}
		container, _ := containerNamed(p, c.in)
		before := p.DeepCopy()
		got, err := resourceValue(p, container, ref, has)
		if failure := message(err); got != c.want || failure != c.failure {
			t.Errorf("%+v: %q %q", c, got, failure)
		}
		if !equality.Semantic.DeepEqual(before, p) {
			t.Errorf("%+v: the pod was changed", c)
		}
	}
}
