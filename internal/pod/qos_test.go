package pod

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestQOS(t *testing.T) {
	list := func(kv ...string) corev1.ResourceList {
		l := corev1.ResourceList{}
		for i := 0; i < len(kv); i += 2 {
			l[corev1.ResourceName(kv[i])] = resource.MustParse(kv[i+1])
		}
		return l
	}
	container := func(requests, limits corev1.ResourceList) corev1.Container {
		return corev1.Container{Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits}}
	}
	full := list("cpu", "1", "memory", "1Gi")
	none := container(nil, nil)
	equal := container(full, full)
	for name, c := range map[string]struct {
		spec   corev1.PodSpec
		status corev1.PodQOSClass
		want   corev1.PodQOSClass
	}{
		"no containers":              {want: corev1.PodQOSBestEffort},
		"nothing set":                {spec: corev1.PodSpec{Containers: []corev1.Container{none, none}}, want: corev1.PodQOSBestEffort},
		"only other resources":       {spec: corev1.PodSpec{Containers: []corev1.Container{container(list("example.com/x", "1"), nil)}}, want: corev1.PodQOSBestEffort},
		"zero is not set":            {spec: corev1.PodSpec{Containers: []corev1.Container{container(list("cpu", "0"), nil)}}, want: corev1.PodQOSBestEffort},
		"all equal":                  {spec: corev1.PodSpec{Containers: []corev1.Container{equal, equal}}, want: corev1.PodQOSGuaranteed},
		"memory missing":             {spec: corev1.PodSpec{Containers: []corev1.Container{container(list("cpu", "1"), list("cpu", "1"))}}, want: corev1.PodQOSBurstable},
		"request below limit":        {spec: corev1.PodSpec{Containers: []corev1.Container{container(list("cpu", "1", "memory", "1Mi"), full)}}, want: corev1.PodQOSBurstable},
		"one of two":                 {spec: corev1.PodSpec{Containers: []corev1.Container{equal, none}}, want: corev1.PodQOSBurstable},
		"best effort init":           {spec: corev1.PodSpec{InitContainers: []corev1.Container{none}, Containers: []corev1.Container{equal}}, want: corev1.PodQOSBurstable},
		"pod level wins":             {spec: corev1.PodSpec{Resources: &corev1.ResourceRequirements{Requests: full, Limits: full}, Containers: []corev1.Container{none}}, want: corev1.PodQOSGuaranteed},
		"pod level of another kind":  {spec: corev1.PodSpec{Resources: &corev1.ResourceRequirements{Requests: list("x", "1")}, Containers: []corev1.Container{equal}}, want: corev1.PodQOSGuaranteed},
		"pod level without anything": {spec: corev1.PodSpec{Resources: &corev1.ResourceRequirements{}, Containers: []corev1.Container{equal}}, want: corev1.PodQOSGuaranteed},
		"the status says":            {status: corev1.PodQOSGuaranteed, want: corev1.PodQOSGuaranteed},
	} {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{Spec: c.spec}
			p.Status.QOSClass = c.status
			if got := QOS(p); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
