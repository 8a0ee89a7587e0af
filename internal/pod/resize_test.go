package pod

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestResizesWhole(t *testing.T) {
	cpu := func(q string) *corev1.ResourceRequirements {
		return &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(q)}}
	}
	known := Actuation{}.With("c", corev1.ResourceRequirements{})
	of := func(whole *corev1.ResourceRequirements) Actuation {
		a := known
		a.Pod = whole
		return a
	}
	for name, c := range map[string]struct {
		asked *corev1.ResourceRequirements
		given Actuation
		want  bool
	}{
		"none":                      {nil, known, false},
		"the same":                  {cpu("1"), of(cpu("1000m")), false},
		"more":                      {cpu("2"), of(cpu("1")), true},
		"the first ones":            {cpu("1"), known, true},
		"nobody knows what it had":  {cpu("1"), Actuation{}, false},
		"nothing in what was added": {&corev1.ResourceRequirements{}, known, false},
	} {
		in := &Input{Spec: Spec{Pod: &corev1.Pod{Spec: corev1.PodSpec{Resources: c.asked}}}, Sizing: Sizing{Actuated: c.given}}
		if got := in.ResizesWhole(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
