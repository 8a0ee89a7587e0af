package metrics

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// Pods counts what is done for pods and what becomes of them.
type Pods struct {
	workTook   *prometheus.HistogramVec
	workStart  prometheus.Histogram
	statusTook prometheus.Histogram
	containers prometheus.Histogram

	begun *begun
	ended *prometheus.CounterVec

	refused, preempted, admitted *prometheus.CounterVec
	orphans, panics              prometheus.Counter

	mu sync.Mutex
	// wanted are the pods that the sources name.
	wanted map[types.UID]seen
}

// begun are the families about starts.
type begun struct {
	pods, podErrors, userPods, userPodErrors prometheus.Counter
	containers, containerErrors              *prometheus.CounterVec
	images, imagesMounted, imageErrors       prometheus.Counter
	sleeps, fallbacks                        prometheus.Counter
}

// seen is a pod as its source has it, and since when.
type seen struct {
	pod    *corev1.Pod
	static bool
	at     time.Time
}

func newPods(f factory) *Pods {
	return &Pods{
		workTook:   f.histograms("kubelet_pod_worker_duration_seconds", "How long one step for a pod took: create, update, sync, kill or terminated.", prometheus.DefBuckets, "operation_type"),
		workStart:  f.histogram("kubelet_pod_worker_start_duration_seconds", "Time from first seeing a pod to beginning to work on it.", prometheus.DefBuckets),
		statusTook: f.histogram("kubelet_pod_status_sync_duration_seconds", "Time from a change of a pod's status until the API server had it.", []float64{.01, .05, .1, .5, 1, 5, 10, 20, 30, 45, 60}),
		containers: f.histogram("kubelet_containers_per_pod_count", "Containers of pods that are worked on.", prometheus.ExponentialBuckets(1, 2, 5)),
		begun: &begun{
			pods:          f.counter("kubelet_started_pods_total", "Sandboxes of pods that were asked for."),
			podErrors:     f.counter("kubelet_started_pods_errors_total", "Sandboxes of pods that could not be made."),
			userPods:      f.counter("kubelet_started_user_namespaced_pods_total", "Sandboxes of pods with users of their own that were asked for."),
			userPodErrors: f.counter("kubelet_started_user_namespaced_pods_errors_total", "Sandboxes of pods with users of their own that could not be made."),
			containers:    f.counters("kubelet_started_containers_total", "Starts of containers, those that failed too.", "container_type"),
			containerErrors: f.counters("kubelet_started_containers_errors_total", "Failed starts of containers.",
				"container_type", "code"),
			images:        f.counter("kubelet_image_volume_requested_total", "Image volumes that containers were started with."),
			imagesMounted: f.counter("kubelet_image_volume_mounted_succeed_total", "Image volumes that were mounted into containers."),
			imageErrors:   f.counter("kubelet_image_volume_mounted_errors_total", "Image volumes that could not be mounted into containers."),
			sleeps:        f.counter("kubelet_sleep_action_terminated_early_total", "Sleep hooks that ended before their time."),
			fallbacks:     f.counter("kubelet_lifecycle_handler_http_fallbacks_total", "HTTPS hooks that went well without TLS."),
		},
		ended:     f.counters("kubelet_terminated_containers_total", "Ends of containers.", "container_type", "exit_code", "reason"),
		refused:   f.counters("kubelet_admission_rejections_total", "Pods that the node did not take.", "reason"),
		preempted: f.counters("kubelet_preemptions", "Pods that went to make room for a critical one, by what was short.", "preemption_signal"),
		admitted:  f.counters("kubelet_pod_level_resources_admission_total", "Pods that the node took, by where their resources are set.", "config_mode", "qos_class"),
		orphans:   f.counter("kubelet_orphaned_runtime_pods_total", "Pods found on the node that nobody wants."),
		panics:    f.counter("nodeagent_worker_panics_total", "Pod workers that had to be rebuilt after a bug."),
		wanted:    map[types.UID]seen{},
	}
}

// Desired takes in what the sources want now, and returns the pods that have
// changed, as they were and as they are.
func (p *Pods) Desired(specs []pod.Spec) (changed [][2]*corev1.Pod) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range specs {
		old, known := p.wanted[s.Pod.UID]
		if known && old.pod == s.Pod {
			continue
		}
		next := seen{pod: s.Pod, static: s.Static(), at: now}
		if known {
			next.at = old.at
			changed = append(changed, [2]*corev1.Pod{old.pod, s.Pod})
		}
		p.wanted[s.Pod.UID] = next
	}
	if len(p.wanted) > len(specs) {
		still := make(map[types.UID]bool, len(specs))
		for _, s := range specs {
			still[s.Pod.UID] = true
		}
		for uid := range p.wanted {
			if !still[uid] {
				delete(p.wanted, uid)
			}
		}
	}
	return changed
}

// desired counts the pods that the sources want: from the API server, and static.
func (p *Pods) desired() (api, static int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.wanted {
		if s.static {
			static++
		} else {
			api++
		}
	}
	return api, static
}

// Launched counts a pod that is worked on from now on: nil for one that nobody
// wants. refused is why the node does not take it.
func (p *Pods) Launched(of *corev1.Pod, refused string) {
	if of == nil {
		p.orphans.Inc()
		return
	}
	p.mu.Lock()
	s, known := p.wanted[of.UID]
	p.mu.Unlock()
	if known {
		observe(p.workStart, time.Since(s.at))
	}
	if refused != "" {
		p.refused.WithLabelValues(refusal(refused)).Inc()
		return
	}
	p.containers.Observe(float64(len(of.Spec.Containers)))
	p.admitted.WithLabelValues(resourceMode(of), strings.ToLower(string(pod.QOS(of)))).Inc()
}

// resourceMode says where a pod's resources are set.
func resourceMode(of *corev1.Pod) string {
	whole, parts := of.Spec.Resources != nil && len(of.Spec.Resources.Requests)+len(of.Spec.Resources.Limits) > 0, false
	for k, c := range pod.Containers(of) {
		parts = parts || k != pod.KindEphemeral && len(c.Resources.Requests)+len(c.Resources.Limits) > 0
	}
	switch {
	case whole && parts:
		return "pod_and_container_level"
	case whole:
		return "pod_level"
	case parts:
		return "container_level"
	}
	return ""
}

// Preempted counts a pod that went for want of a resource.
func (p *Pods) Preempted(short corev1.ResourceName) {
	p.preempted.WithLabelValues(preempting(short)).Inc()
}

// Operation counts what was done for a pod; nil for one that nobody wants.
func (p *Pods) Operation(of *corev1.Pod, a plan.Action, took time.Duration, err error) {
	observe(p.workTook.WithLabelValues(step(a)), took)
	if errors.Is(err, context.Canceled) {
		return // nobody wanted it any more
	}
	switch a := a.(type) {
	case plan.CreateSandbox:
		p.sandbox(of, err)
	case plan.StartContainer:
		_, kind := pod.Find(of, a.Container.Name)
		p.start(kind, err)
		p.mounted(a, err)
	case plan.EnsureImage:
		// A start that gets no image is one that failed; of one that gets it, the
		// rest is counted.
		if _, kind := pod.Find(of, a.Use.Key); err != nil {
			p.start(kind, err)
		}
	case plan.MountVolumes, plan.RemoveVolumes, plan.RemoveCgroup, plan.RemoveLogs, plan.StopSandbox, plan.RemoveSandbox,
		plan.Resize, plan.RunPreStop, plan.StopContainer, plan.RemoveContainer:
	}
}

// step is the kubelet's word for what an action is part of.
func step(a plan.Action) string {
	switch a.(type) {
	case plan.MountVolumes, plan.EnsureImage, plan.CreateSandbox, plan.StartContainer:
		return "create"
	case plan.Resize:
		return "update"
	case plan.RunPreStop, plan.StopContainer, plan.StopSandbox:
		return "kill"
	case plan.RemoveContainer, plan.RemoveSandbox, plan.RemoveVolumes, plan.RemoveCgroup, plan.RemoveLogs:
	}
	return "terminated"
}

// Synced counts a look at a pod that says what to do next.
func (p *Pods) Synced(took time.Duration) { observe(p.workTook.WithLabelValues("sync"), took) }

func (p *Pods) sandbox(of *corev1.Pod, err error) {
	own := of != nil && pod.OwnUsers(of)
	p.begun.pods.Inc()
	if own {
		p.begun.userPods.Inc()
	}
	if err != nil {
		p.begun.podErrors.Inc()
		if own {
			p.begun.userPodErrors.Inc()
		}
	}
}

func (p *Pods) start(kind pod.Kind, err error) {
	label := kindLabel(kind)
	p.begun.containers.WithLabelValues(label).Inc()
	if err != nil {
		p.begun.containerErrors.WithLabelValues(label, oneOf(startErrors(), pod.Reason(err, "CreateContainerError"))).Inc()
	}
}

// mounted counts the image volumes that a container was started with.
func (p *Pods) mounted(a plan.StartContainer, err error) {
	n := float64(len(a.VolumeImages))
	if n == 0 {
		return
	}
	p.begun.images.Add(n)
	if err != nil && strings.Contains(err.Error(), "image volume") {
		p.begun.imageErrors.Add(n)
		return
	}
	p.begun.imagesMounted.Add(n)
}

// Reported counts what newly happened to the containers of a pod.
func (p *Pods) Reported(before, now *corev1.PodStatus) {
	p.ends(pod.KindInit, before.InitContainerStatuses, now.InitContainerStatuses)
	p.ends(pod.KindRegular, before.ContainerStatuses, now.ContainerStatuses)
	p.ends(pod.KindEphemeral, before.EphemeralContainerStatuses, now.EphemeralContainerStatuses)
}

func (p *Pods) ends(kind pod.Kind, before, now []corev1.ContainerStatus) {
	for i := range now {
		ended := lastEnd(&now[i])
		if ended == nil {
			continue
		}
		if was := statusOf(before, now[i].Name); was != nil {
			if old := lastEnd(was); old != nil && old.ContainerID == ended.ContainerID {
				continue
			}
		}
		p.ended.WithLabelValues(kindLabel(kind), exitCode(ended.ExitCode), oneOf(endReasons(), ended.Reason)).Inc()
	}
}

// lastEnd is the end of the newest instance that has ended; nil: none has.
func lastEnd(s *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if s.State.Terminated != nil {
		return s.State.Terminated
	}
	return s.LastTerminationState.Terminated
}

func statusOf(list []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// StatusSent counts a status that the API server has after this time.
func (p *Pods) StatusSent(took time.Duration) { observe(p.statusTook, took) }

// Panicked counts a worker that had to be rebuilt.
func (p *Pods) Panicked() { p.panics.Inc() }

// SleepCut counts a sleep hook that ended before its time.
func (p *Pods) SleepCut() { p.begun.sleeps.Inc() }

// FellBack counts an HTTPS hook that went well without TLS.
func (p *Pods) FellBack() { p.begun.fallbacks.Inc() }
