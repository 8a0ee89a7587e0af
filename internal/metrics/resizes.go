package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// Resizes counts changes of the resources of running pods (KEP-1287).
type Resizes struct {
	requested, infeasible, accepted *prometheus.CounterVec
	took, deferred                  *prometheus.HistogramVec
}

func newResizes(f factory) *Resizes {
	return &Resizes{
		requested: f.counters("kubelet_container_requested_resizes_total", "Other resources that were asked for, for each container and resource.",
			"resource", "requirement", "operation"),
		infeasible: f.counters("kubelet_pod_infeasible_resizes_total", "Resizes that this node can never do.", "reason_detail"),
		accepted:   f.counters("kubelet_pod_deferred_accepted_resizes_total", "Resizes that had to wait and were accepted.", "retry_trigger"),
		took: f.histograms("kubelet_pod_resize_duration_milliseconds", "How long giving pods their new resources took.",
			[]float64{10, 50, 100, 500, 1000, 2000, 5000, 10000, 20000, 30000, 60000, 120000, 300000, 600000}, "success"),
		deferred: f.histograms("kubelet_pod_deferred_resize_duration_seconds", "How long resizes had to wait, by how that ended and the pod's priority.",
			[]float64{5, 10, 15, 20, 30, 45, 60, 90, 120, 150, 180, 300, 600, 1200, 1800, 3600}, "resolution", "priority_bucket"),
	}
}

// Updated counts what a pod newly asks for.
func (r *Resizes) Updated(before, now *corev1.Pod) {
	if before.Generation == now.Generation && before.Generation != 0 {
		return // its spec is the same
	}
	for k, c := range pod.Containers(now) {
		old, kind := pod.Find(before, c.Name)
		if old == nil || kind != k || k == pod.KindEphemeral {
			continue
		}
		for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceCPU} {
			r.change(name, "requests", old.Resources.Requests, c.Resources.Requests)
			r.change(name, "limits", old.Resources.Limits, c.Resources.Limits)
		}
	}
}

func (r *Resizes) change(name corev1.ResourceName, requirement string, before, now corev1.ResourceList) {
	if verb := changed(before[name], now[name]); verb != "" {
		r.requested.WithLabelValues(string(name), requirement, verb).Inc()
	}
}

func changed(before, now resource.Quantity) string {
	switch order := now.Cmp(before); {
	case order == 0:
		return ""
	case before.IsZero():
		return "add"
	case now.IsZero():
		return "remove"
	case order > 0:
		return "increase"
	}
	return "decrease"
}

// Operation counts a resize that was done.
func (r *Resizes) Operation(a plan.Action, took time.Duration, err error) {
	if _, is := a.(plan.Resize); !is {
		return
	}
	success := "true"
	if err != nil {
		success = "false"
	}
	r.took.WithLabelValues(success).Observe(float64(max(took, 0).Milliseconds()))
}

// Reported counts what newly became of what a pod asks for.
func (r *Resizes) Reported(of *corev1.Pod, before, now *corev1.PodStatus) {
	was, is := pod.Condition(before.Conditions, corev1.PodResizePending), pod.Condition(now.Conditions, corev1.PodResizePending)
	if is != nil && is.Reason == corev1.PodReasonInfeasible && (was == nil || was.Reason != is.Reason || was.ObservedGeneration != is.ObservedGeneration) {
		r.infeasible.WithLabelValues("other").Inc()
	}
	if was == nil || was.Reason != corev1.PodReasonDeferred || is != nil && is.Reason == corev1.PodReasonDeferred {
		return
	}
	resolution := "reverted"
	switch {
	case pod.Terminal(now.Phase) || of.DeletionTimestamp != nil:
		resolution = "terminated"
	case pod.Condition(now.Conditions, corev1.PodResizeInProgress) != nil:
		resolution = "accepted"
		r.accepted.WithLabelValues("other").Inc()
	}
	if !was.LastTransitionTime.IsZero() {
		observe(r.deferred.WithLabelValues(resolution, priorityLabel(of)), time.Since(was.LastTransitionTime.Time))
	}
}
