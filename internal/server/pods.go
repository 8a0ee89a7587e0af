package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// servePods lists the pods bound to this node, with the status that the agent
// reports.
func (s *Server) servePods(w http.ResponseWriter, _ *http.Request) {
	var items []corev1.Pod
	for _, v := range s.from.Pods.Views() {
		if v.Pod == nil {
			continue
		}
		item := *v.Pod
		item.Status = v.Status
		items = append(items, item)
	}
	s.writePods(w, items)
}

// serveRunningPods lists what the runtime says is running.
func (s *Server) serveRunningPods(w http.ResponseWriter, r *http.Request) {
	running, err := s.from.Runtime.Running(r.Context())
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	var items []corev1.Pod
	for _, p := range running {
		items = append(items, *p)
	}
	s.writePods(w, items)
}

func (s *Server) writePods(w http.ResponseWriter, items []corev1.Pod) {
	slices.SortFunc(items, func(a, b corev1.Pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name+"/"+string(a.UID), b.Namespace+"/"+b.Name+"/"+string(b.UID))
	})
	s.writeJSON(w, corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: items})
}

func (s *Server) writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Debug("the client did not take an answer", zap.Error(err))
	}
}

// find returns the pod that a request's path names, or nil. Of two pods of one
// name, the newer one is meant: the other one is on its way out.
func (s *Server) find(r *http.Request) *pod.View {
	namespace, name := r.PathValue("namespace"), r.PathValue("pod")
	var found *pod.View
	for _, v := range s.from.Pods.Views() {
		if v.Pod == nil || v.Ref.Name != name || v.Ref.Namespace != namespace {
			continue
		}
		if found == nil || found.Pod.CreationTimestamp.Before(&v.Pod.CreationTimestamp) {
			found = v
		}
	}
	return found
}

// otherUID reports whether the path asks for another instance of the pod.
func otherUID(r *http.Request, v *pod.View) bool {
	uid := r.PathValue("uid")
	return uid != "" && types.UID(uid) != v.Ref.UID
}

// statusOf returns a container's status of any kind, or nil.
func statusOf(st *corev1.PodStatus, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{st.ContainerStatuses, st.InitContainerStatuses, st.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// runningID returns the runtime's ID of a container that runs, or "".
func runningID(v *pod.View, name string) string {
	st := statusOf(&v.Status, name)
	if st == nil || st.State.Running == nil {
		return ""
	}
	return bareID(st.ContainerID)
}

// bareID takes the runtime's name from a container ID ("containerd://id").
func bareID(id string) string {
	if _, bare, ok := strings.Cut(id, "://"); ok {
		return bare
	}
	return id
}

// loggedID returns the ID of the instance whose log is meant, in the API's
// form, or says in the kubelet's words why there is none.
func loggedID(podName string, st *corev1.PodStatus, name string, previous bool) (string, error) {
	c := statusOf(st, name)
	if c == nil {
		return "", fmt.Errorf("container %q in pod %q is not available", name, podName)
	}
	last := ""
	if t := c.LastTerminationState.Terminated; t != nil {
		last = t.ContainerID
	}
	switch {
	case previous && last == "":
		return "", fmt.Errorf("previous terminated container %q in pod %q not found", name, podName)
	case previous:
		return last, nil
	case c.State.Running != nil:
		return c.ContainerID, nil
	case c.State.Terminated != nil && c.State.Terminated.ContainerID != "":
		return c.State.Terminated.ContainerID, nil
	case last != "":
		return last, nil
	case c.State.Terminated != nil || c.LastTerminationState.Terminated != nil:
		return "", fmt.Errorf("container %q in pod %q is terminated", name, podName)
	case c.State.Waiting == nil:
		return "", fmt.Errorf("container %q in pod %q is waiting to start - no logs yet", name, podName)
	}
	why := c.State.Waiting.Reason
	switch why {
	case "ErrImagePull":
		why = "image can't be pulled"
	case "ImagePullBackOff":
		why = "trying and failing to pull image"
	}
	return "", fmt.Errorf("container %q in pod %q is waiting to start: %s", name, podName, why)
}
