package server

import (
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// serveAllocatedPods lists the pods that hold something of the node, with the
// resources that they have been allocated, and without a status.
func (s *Server) serveAllocatedPods(w http.ResponseWriter, _ *http.Request) {
	var items []corev1.Pod
	for _, v := range s.from.Pods.Views() {
		if holds(v) {
			items = append(items, allocated(v))
		}
	}
	s.writePods(w, items)
}

// serveAllocatedPod shows one of them.
func (s *Server) serveAllocatedPod(w http.ResponseWriter, r *http.Request) {
	v := s.find(r)
	if v == nil || !holds(v) || otherUID(r, v) {
		fail(w, http.StatusNotFound, "pod not found")
		return
	}
	p := allocated(v)
	p.TypeMeta = metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}
	s.writeJSON(w, p)
}

// holds reports whether a pod has not ended, or is not done with it.
func holds(v *pod.View) bool {
	if v.Pod == nil || v.Stage == plan.Terminated {
		return false
	}
	ended := v.Status.Phase == corev1.PodSucceeded || v.Status.Phase == corev1.PodFailed
	return !ended || v.Stage == plan.Terminating
}

func allocated(v *pod.View) corev1.Pod {
	p := *v.Pod
	p.Status = corev1.PodStatus{}
	return p
}
