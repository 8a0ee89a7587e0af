package metrics

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// other stands for all values of a label that are not in its list.
const other = "Other"

// oneOf is the value if it is in the list, else Other.
func oneOf(list []string, value string) string {
	if slices.Contains(list, value) {
		return value
	}
	return other
}

// startErrors are the reasons for which a container is not started.
func startErrors() []string {
	return []string{
		"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable",
		"SignatureValidationFailed", "CreateContainerConfigError", "CreateContainerError", "PreCreateHookError", "PreStartHookError",
		"PostStartHookError", "RunContainerError", "CrashLoopBackOff", "ErrImageVolumeMountFailed",
	}
}

// endReasons are the reasons of a container's end.
func endReasons() []string {
	return []string{"Completed", "Error", "OOMKilled", "ContainerCannotRun", "StartError", "ContainerStatusUnknown", "DeadlineExceeded", "Unknown", ""}
}

// refusals are the reasons for which a node does not take a pod (pkg/kubelet,
// admissionRejectionReasons).
func refusals() []string {
	return []string{
		"AppArmor", "PodOSSelectorNodeLabelDoesNotMatch", "PodOSNotSupported", "InvalidNodeInfo", "InitContainerRestartPolicyForbidden",
		"SupplementalGroupsPolicyNotSupported", "UnexpectedAdmissionError", "UnknownReason", "UnexpectedPredicateFailureType",
		"OutOfcpu", "OutOfmemory", "OutOfephemeral-storage", "OutOfpods", "PodLevelResourcesNotSupported", "PodFeatureUnsupported",
		"node(s) had taints that the pod didn't tolerate", "Evicted", "SysctlForbidden", "TopologyAffinityError", "NodeShutdown",
		"VolumeAttachmentLimitExceeded",
	}
}

// refusal is the label of a reason for which a pod was not taken.
func refusal(reason string) string {
	known := oneOf(refusals(), reason)
	if known == other && strings.HasPrefix(reason, "OutOf") {
		return "OutOfExtendedResources"
	}
	return known
}

// preempting is the label of the resource that pods went for.
func preempting(r corev1.ResourceName) string {
	return oneOf([]string{"cpu", "memory", "ephemeral-storage", "pods"}, string(r))
}

// exitCode is the label of an exit code. A runtime may report any number.
func exitCode(code int32) string {
	if code < 0 || code > 255 {
		return other
	}
	return strconv.Itoa(int(code))
}

// kindLabel is the kubelet's word for a kind of container.
func kindLabel(k pod.Kind) string {
	switch k {
	case pod.KindInit, pod.KindSidecar:
		return "init_container"
	case pod.KindEphemeral:
		return "ephemeral_container"
	case pod.KindRegular:
	}
	return "container"
}

// methodLabel is a request's method if it is one of HTTP's.
func methodLabel(method string) string {
	switch method {
	case http.MethodOptions, http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodTrace, http.MethodConnect:
		return method
	}
	return "other"
}

// pathLabel is the part of a path that says what is asked for, if it is one that
// the node's API has.
func pathLabel(path string) string {
	root, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if root == "metrics" && rest != "" {
		sub, _, _ := strings.Cut(rest, "/")
		root = "metrics/" + sub
	}
	switch root {
	case "healthz", "pods", "stats", "metrics", "metrics/cadvisor", "metrics/probes", "metrics/resource", "run", "exec", "attach",
		"portForward", "containerLogs", "configz", "allocatedPods", "runningpods", "checkpoint", "logs", "debug", "pprof", "flagz", "statusz":
		return root
	}
	return "other"
}

// longRunning reports what the kubelet says of a path; it spells portforward in a
// way that no path has.
func longRunning(path string) bool {
	switch path {
	case "exec", "attach", "debug":
		return true
	}
	return false
}

// sizeLabel is the range that an image's size in bytes is in.
func sizeLabel(size int64) string {
	const mb, gb = 1 << 20, 1 << 30
	if size <= 0 {
		return "N/A"
	}
	for _, b := range []struct {
		upTo  int64
		label string
	}{
		{10 * mb, "0-10MB"}, {100 * mb, "10MB-100MB"}, {500 * mb, "100MB-500MB"}, {gb, "500MB-1GB"}, {5 * gb, "1GB-5GB"},
		{10 * gb, "5GB-10GB"}, {20 * gb, "10GB-20GB"}, {30 * gb, "20GB-30GB"}, {40 * gb, "30GB-40GB"}, {60 * gb, "40GB-60GB"},
		{100 * gb, "60GB-100GB"},
	} {
		if size <= b.upTo {
			return b.label
		}
	}
	return "GT100GB"
}

// priorityLabel is the range that a pod's priority is in.
func priorityLabel(p *corev1.Pod) string {
	const critical, high, low = 2_000_000_000, 100_000, -1000
	switch {
	case p == nil:
		return "unknown"
	case p.Spec.Priority == nil || *p.Spec.Priority == 0:
		return "normal"
	case *p.Spec.Priority >= critical:
		return "system-critical"
	case *p.Spec.Priority >= high:
		return "high"
	case *p.Spec.Priority > 0:
		return "medium"
	case *p.Spec.Priority > low:
		return "low"
	}
	return "very-low"
}
