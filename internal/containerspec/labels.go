package containerspec

import (
	"encoding/json"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// The labels the kubelet puts on sandboxes and containers.
const (
	LabelPodName       = "io.kubernetes.pod.name"
	LabelPodNamespace  = "io.kubernetes.pod.namespace"
	LabelPodUID        = "io.kubernetes.pod.uid"
	LabelContainerName = "io.kubernetes.container.name"
)

// The annotations the kubelet puts on containers, and one of ours.
const (
	AnnotationHash                     = "io.kubernetes.container.hash"
	AnnotationRestartCount             = "io.kubernetes.container.restartCount"
	AnnotationTerminationMessagePath   = "io.kubernetes.container.terminationMessagePath"
	AnnotationTerminationMessagePolicy = "io.kubernetes.container.terminationMessagePolicy"
	AnnotationPreStopHandler           = "io.kubernetes.container.preStopHandler"
	AnnotationPorts                    = "io.kubernetes.container.ports"
	AnnotationDeletionGracePeriod      = "io.kubernetes.pod.deletionGracePeriod"
	AnnotationTerminationGracePeriod   = "io.kubernetes.pod.terminationGracePeriod"
	// AnnotationCrashCount carries pod.ContainerRequest.CrashCount. A kubelet
	// that takes over does not mind it.
	AnnotationCrashCount = "nodeagent.dev/crash-count"
)

// sandboxLabels are the pod's own and those that name the pod; the latter win.
func sandboxLabels(p *corev1.Pod) map[string]string {
	l := make(map[string]string, len(p.Labels)+3)
	maps.Copy(l, p.Labels)
	l[LabelPodName], l[LabelPodNamespace], l[LabelPodUID] = p.Name, p.Namespace, string(p.UID)
	return l
}

func containerLabels(p *corev1.Pod, c *corev1.Container) map[string]string {
	return map[string]string{
		LabelPodName: p.Name, LabelPodNamespace: p.Namespace, LabelPodUID: string(p.UID), LabelContainerName: c.Name,
	}
}

// containerAnnotations are what a later observer needs of the spec the
// container was made from.
func containerAnnotations(req *pod.ContainerRequest) map[string]string {
	p, c := req.Sandbox.Pod, req.Container
	a := map[string]string{
		AnnotationHash:                     Hash(c),
		AnnotationRestartCount:             strconv.Itoa(req.Attempt),
		AnnotationTerminationMessagePath:   c.TerminationMessagePath,
		AnnotationTerminationMessagePolicy: string(c.TerminationMessagePolicy),
		AnnotationCrashCount:               strconv.Itoa(req.CrashCount),
	}
	if g := p.DeletionGracePeriodSeconds; g != nil {
		a[AnnotationDeletionGracePeriod] = strconv.FormatInt(*g, 10)
	}
	if g := p.Spec.TerminationGracePeriodSeconds; g != nil {
		a[AnnotationTerminationGracePeriod] = strconv.FormatInt(*g, 10)
	}
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
		if raw, err := json.Marshal(c.Lifecycle.PreStop); err == nil {
			a[AnnotationPreStopHandler] = string(raw)
		}
	}
	if len(c.Ports) > 0 {
		if raw, err := json.Marshal(c.Ports); err == nil {
			a[AnnotationPorts] = string(raw)
		}
	}
	return a
}

// CrashCountOf reads pod.ContainerRequest.CrashCount back; -1 when the
// annotations do not say or say nonsense.
func CrashCountOf(annotations map[string]string) int {
	return count(annotations, AnnotationCrashCount)
}

// RestartCountOf reads the attempt back from the annotation a kubelet trusts;
// -1 when the annotations do not say or say nonsense.
func RestartCountOf(annotations map[string]string) int {
	return count(annotations, AnnotationRestartCount)
}

func count(annotations map[string]string, key string) int {
	n, err := strconv.ParseInt(annotations[key], 10, 32)
	if err != nil || n < 0 {
		return -1
	}
	return int(n)
}
