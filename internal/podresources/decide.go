package podresources

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	v1 "k8s.io/kubelet/pkg/apis/podresources/v1"
	"k8s.io/kubelet/pkg/apis/podresources/v1alpha1"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// active reports whether a pod still holds resources: until it has ended, or has
// been refused. A pod that is being stopped does, whatever its phase.
func active(v *pod.View) bool {
	switch v.Stage {
	case plan.Terminated:
		return false
	case plan.Terminating:
		return true
	}
	return !ended(v.Status.Phase) && !ended(v.Pod.Status.Phase)
}

func ended(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

// chosen returns the pods that have an object and are wanted, by name.
func chosen(views []*pod.View, wanted func(*pod.View) bool) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, v := range views {
		if v.Pod != nil && wanted(v) {
			pods = append(pods, v.Pod)
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return pods
}

// named returns the active pod of a name, or nil. Of two the newer one is meant.
func named(views []*pod.View, namespace, name string) *corev1.Pod {
	var found *corev1.Pod
	for _, p := range chosen(views, active) {
		if p.Namespace == namespace && p.Name == name && (found == nil || found.CreationTimestamp.Before(&p.CreationTimestamp)) {
			found = p
		}
	}
	return found
}

// resourcesOf names the containers that may hold something for as long as the
// pod runs: sidecars, then regular ones.
func resourcesOf(p *corev1.Pod) *v1.PodResources {
	r := &v1.PodResources{Name: p.Name, Namespace: p.Namespace}
	for kind, c := range pod.Containers(p) {
		if kind == pod.KindSidecar || kind == pod.KindRegular {
			r.Containers = append(r.Containers, &v1.ContainerResources{Name: c.Name})
		}
	}
	return r
}

// oldResourcesOf is the same for v1alpha1, which knows of regular containers
// alone.
func oldResourcesOf(p *corev1.Pod) *v1alpha1.PodResources {
	r := &v1alpha1.PodResources{Name: p.Name, Namespace: p.Namespace}
	for i := range p.Spec.Containers {
		r.Containers = append(r.Containers, &v1alpha1.ContainerResources{Name: p.Spec.Containers[i].Name})
	}
	return r
}
