package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"nodeagent.dev/nodeagent/internal/pod"
)

// snapshot counts pods and containers as they are during a scrape.
type snapshot struct {
	views func() []*pod.View
	pods  *Pods
	// tiered: memory is kept for pods.
	tiered bool
}

// Describe implements prometheus.Collector. What is collected is made of the same
// words each time, so that it is not described beforehand.
func (snapshot) Describe(chan<- *prometheus.Desc) {}

// work is a row of kubelet_working_pods.
type work struct{ lifecycle, config, static string }

// counted is what a look at all views came to.
type counted struct {
	runningPods, ephemeral, resizing int
	active                           map[string]int // by static
	states                           map[string]int // of containers
	working                          map[work]int
	pending                          map[[2]string]int // reason, priority
	// memory are the bytes that are kept for pods, by their class.
	memory map[corev1.PodQOSClass]int
}

// Collect implements prometheus.Collector.
func (s snapshot) Collect(ch chan<- prometheus.Metric) {
	c := counted{
		active: map[string]int{"": 0, "true": 0}, states: map[string]int{"running": 0, "exited": 0, "created": 0},
		working: map[work]int{}, pending: map[[2]string]int{}, memory: map[corev1.PodQOSClass]int{},
	}
	for _, stage := range []string{"sync", "terminating", "terminated"} {
		for _, static := range []string{"", "true"} {
			c.working[work{stage, "desired", static}], c.working[work{stage, "orphan", static}] = 0, 0
		}
		c.working[work{stage, "runtime_only", "unknown"}] = 0
	}
	for _, v := range s.views() {
		c.pod(v)
		if s.tiered && v.Pod != nil && !pod.Terminal(v.Status.Phase) {
			requests := resourcehelper.PodRequests(v.Pod, resourcehelper.PodResourcesOptions{})
			c.memory[pod.QOS(v.Pod)] += int(requests.Memory().Value())
		}
	}
	c.send(ch)
	api, static := s.pods.desired()
	gauge(ch, "kubelet_desired_pods", "Pods that the node is to run.", []string{"static"}, api, "")
	gauge(ch, "kubelet_desired_pods", "Pods that the node is to run.", []string{"static"}, static, "true")
}

// pod counts one pod.
func (c *counted) pod(v *pod.View) {
	w := work{lifecycle: stageLabel(v.Stage), config: "desired"}
	if v.Pod == nil {
		w.config, w.static = "runtime_only", "unknown"
	} else if v.Source != "" && v.Source != pod.SourceAPI {
		w.static = "true"
	}
	c.working[w]++
	if v.Pod == nil {
		return
	}
	if ready := pod.Condition(v.Status.Conditions, corev1.PodReadyToStartContainers); ready != nil && ready.Status == corev1.ConditionTrue {
		c.runningPods++
	}
	if !pod.Terminal(v.Status.Phase) {
		c.active[w.static]++
	}
	c.ephemeral += len(v.Pod.Spec.EphemeralContainers)
	for _, list := range [][]corev1.ContainerStatus{v.Status.InitContainerStatuses, v.Status.ContainerStatuses, v.Status.EphemeralContainerStatuses} {
		for i := range list {
			c.container(&list[i])
		}
	}
	if r := pod.Condition(v.Status.Conditions, corev1.PodResizePending); r != nil {
		reason := "infeasible"
		if r.Reason == corev1.PodReasonDeferred {
			reason = "deferred"
		}
		c.pending[[2]string{reason, priorityLabel(v.Pod)}]++
	}
	if pod.Condition(v.Status.Conditions, corev1.PodResizeInProgress) != nil {
		c.resizing++
	}
}

// container counts the instances of a container, of which the last that has ended is
// kept.
func (c *counted) container(s *corev1.ContainerStatus) {
	if s.State.Running != nil {
		c.states["running"]++
	}
	if s.State.Terminated != nil {
		c.states["exited"]++
	}
	if s.LastTerminationState.Terminated != nil {
		c.states["exited"]++
	}
}

func (c *counted) send(ch chan<- prometheus.Metric) {
	gauge(ch, "kubelet_running_pods", "Pods that have a running sandbox.", nil, c.runningPods)
	gauge(ch, "kubelet_managed_ephemeral_containers", "Ephemeral containers of the node's pods.", nil, c.ephemeral)
	gauge(ch, "kubelet_pod_in_progress_resizes", "Pods whose containers are being given other resources.", nil, c.resizing)
	for state, n := range c.states {
		gauge(ch, "kubelet_running_containers", "Containers by state.", []string{"container_state"}, n, state)
	}
	for static, n := range c.active {
		gauge(ch, "kubelet_active_pods", "Pods that take up room on the node.", []string{"static"}, n, static)
	}
	for w, n := range c.working {
		gauge(ch, "kubelet_working_pods", "Pods by what is done with them.", []string{"lifecycle", "config", "static"}, n, w.lifecycle, w.config, w.static)
	}
	gauge(ch, "kubelet_memory_qos_node_memory_min_bytes", "Memory that is kept for guaranteed pods, in bytes.", nil, c.memory[corev1.PodQOSGuaranteed])
	gauge(ch, "kubelet_memory_qos_node_memory_low_bytes", "Memory that is kept for burstable pods as long as there is other, in bytes.", nil, c.memory[corev1.PodQOSBurstable])
	for p, n := range c.pending {
		gauge(ch, "kubelet_pod_pending_resizes", "Pods that wait for other resources.", []string{"reason", "priority_bucket"}, n, p[0], p[1])
	}
}

func gauge(ch chan<- prometheus.Metric, name, help string, labels []string, n int, values ...string) {
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue, float64(n), values...)
}

// stageLabel is the kubelet's word for a stage of a pod.
func stageLabel(stage string) string {
	if stage == "Syncing" || stage == "" {
		return "sync"
	}
	return strings.ToLower(stage)
}

// CertificateState is how a pod certificate is, and who signs it.
type CertificateState struct{ Signer, State string }

// Certificates shows the certificates of pods by their state. states is asked at
// each scrape.
func Certificates(states func() map[CertificateState]int) prometheus.Collector {
	return certificates{states}
}

type certificates struct {
	states func() map[CertificateState]int
}

// Describe implements prometheus.Collector; see [snapshot.Describe].
func (certificates) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c certificates) Collect(ch chan<- prometheus.Metric) {
	for s, n := range c.states() {
		gauge(ch, "kubelet_podcertificate_states", "Certificates for volumes of pods, by signer and state.", []string{"signer_name", "state"}, n, s.Signer, s.State)
	}
}
