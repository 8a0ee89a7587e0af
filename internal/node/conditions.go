package node

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// words are the reason, message and event of a condition.
type words struct{ reason, message, event string }

// buildConditions updates the four conditions of a node agent. Ready comes last,
// because controllers of other versions read it that way.
func buildConditions(r *Result, f Facts, now metav1.Time) {
	pressure(r, corev1.NodeMemoryPressure, f.Pressure.Memory, now,
		words{"KubeletHasInsufficientMemory", "kubelet has insufficient memory available", "NodeHasInsufficientMemory"},
		words{"KubeletHasSufficientMemory", "kubelet has sufficient memory available", "NodeHasSufficientMemory"})
	pressure(r, corev1.NodeDiskPressure, f.Pressure.Disk, now,
		words{"KubeletHasDiskPressure", "kubelet has disk pressure", "NodeHasDiskPressure"},
		words{"KubeletHasNoDiskPressure", "kubelet has no disk pressure", "NodeHasNoDiskPressure"})
	pressure(r, corev1.NodePIDPressure, f.Pressure.PID, now,
		words{"KubeletHasInsufficientPID", "kubelet has insufficient PID available", "NodeHasInsufficientPID"},
		words{"KubeletHasSufficientPID", "kubelet has sufficient PID available", "NodeHasSufficientPID"})
	ready(r, f, now)
}

func pressure(r *Result, kind corev1.NodeConditionType, under bool, now metav1.Time, yes, no words) {
	status, w := corev1.ConditionFalse, no
	if under {
		status, w = corev1.ConditionTrue, yes
	}
	if setCondition(r, corev1.NodeCondition{Type: kind, Status: status, Reason: w.reason, Message: w.message}, now) {
		r.Events = append(r.Events, statusEvent(r.Node.Name, w.event))
	}
}

func ready(r *Result, f Facts, now metav1.Time) {
	c := corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status",
	}
	if why := notReady(f, r.Node.Status.Capacity, now); len(why) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "KubeletNotReady", aggregate(why)
	}
	existed := findCondition(r.Node.Status.Conditions, corev1.NodeReady) != nil
	if !setCondition(r, c, now) || !existed {
		return
	}
	event := "NodeNotReady"
	if c.Status == corev1.ConditionTrue {
		event = "NodeReady"
	}
	r.Events = append(r.Events, statusEvent(r.Node.Name, event))
}

// notReady says why the node cannot run pods.
func notReady(f Facts, capacity corev1.ResourceList, now metav1.Time) []string {
	why := append(runtimeProblems(f.Runtime, now), f.Unhealthy...)
	if f.Runtime.Info != nil && f.Runtime.Info.RuntimeProblem != "" {
		why = append(why, "container runtime not ready: "+f.Runtime.Info.RuntimeProblem)
	}
	if p := networkProblem(f.Runtime); p != "" {
		why = append(why, p)
	}
	var missing []string
	for _, name := range []corev1.ResourceName{
		corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourcePods, corev1.ResourceEphemeralStorage,
	} {
		if _, known := capacity[name]; !known {
			missing = append(missing, string(name))
		}
	}
	if len(missing) > 0 {
		why = append(why, "missing node capacity for resources: "+strings.Join(missing, ", "))
	}
	return why
}

func runtimeProblems(rt RuntimeState, now metav1.Time) []string {
	switch {
	case rt.LastOK.IsZero():
		return []string{"container runtime status check may not have completed yet"}
	case rt.Down(now.Time):
		return []string{"container runtime is down"}
	}
	return nil
}

// networkProblem is why pods that need the pod network cannot start.
func networkProblem(rt RuntimeState) string {
	switch {
	case rt.Info == nil:
		return "network state unknown"
	case rt.Info.NetworkProblem != "":
		return "container runtime network not ready: " + rt.Info.NetworkProblem
	}
	return ""
}

// aggregate joins several reasons the way users of the API know them.
func aggregate(why []string) string {
	if len(why) == 1 {
		return why[0]
	}
	return "[" + strings.Join(why, ", ") + "]"
}

// setCondition stores a condition at its old place, or appends it, and reports
// whether its status changed. The transition time only moves with the status.
func setCondition(r *Result, c corev1.NodeCondition, now metav1.Time) bool {
	c.LastHeartbeatTime, c.LastTransitionTime = now, now
	old := findCondition(r.Node.Status.Conditions, c.Type)
	if old == nil {
		r.Node.Status.Conditions = append(r.Node.Status.Conditions, c)
		return true
	}
	changed := old.Status != c.Status
	if !changed {
		c.LastTransitionTime = old.LastTransitionTime
	}
	*old = c
	return changed
}

func findCondition(list []corev1.NodeCondition, kind corev1.NodeConditionType) *corev1.NodeCondition {
	if i := slices.IndexFunc(list, func(c corev1.NodeCondition) bool { return c.Type == kind }); i >= 0 {
		return &list[i]
	}
	return nil
}

func statusEvent(node, reason string) Event {
	return Event{Type: corev1.EventTypeNormal, Reason: reason, Message: fmt.Sprintf("Node %s status is now: %s", node, reason)}
}
