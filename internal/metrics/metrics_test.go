package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// rows puts the rows of a family into words, in order.
func rows(t *testing.T, m *Metrics, name string) string {
	t.Helper()
	g := gather(t, m.registry)
	if strings.HasPrefix(name, "prober_") {
		g = gather(t, m.probes)
	}
	var all []string
	for _, x := range g[name].GetMetric() {
		row := ""
		for _, l := range x.GetLabel() {
			row += l.GetName() + "=" + l.GetValue() + " "
		}
		if h := x.GetHistogram(); h != nil {
			row += fmt.Sprintf("n=%d sum=%g", h.GetSampleCount(), h.GetSampleSum())
		} else {
			row += fmt.Sprint(x.GetCounter().GetValue() + x.GetGauge().GetValue())
		}
		all = append(all, row)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func want(t *testing.T, m *Metrics, families map[string]string) {
	t.Helper()
	for name, text := range families {
		if got := rows(t, m, name); got != text {
			t.Errorf("%s: got %q, want %q", name, got, text)
		}
	}
}

func TestStartsLeaveOutPullsAndInitContainers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMetrics()
		time.Sleep(500 * time.Millisecond) // creation times have no fractions
		p := newPod("p")
		m.Starts.Launched(p)
		step := func(d time.Duration, f func(types.UID)) { time.Sleep(d); f(p.UID) }
		step(time.Second, m.Starts.Pulling) // 1 s to 9 s, of which one fails at first
		step(2*time.Second, m.Starts.Pulling)
		step(2*time.Second, m.Starts.Pulled)
		step(time.Second, m.Starts.Pulling)
		step(3*time.Second, m.Starts.Pulled)
		init := ended("init", "i", 0, "Completed")
		init.State.Terminated.StartedAt = metav1.Now()
		time.Sleep(4 * time.Second)
		init.State.Terminated.FinishedAt = metav1.Now()
		up := p.DeepCopy()
		up.Status.InitContainerStatuses = []corev1.ContainerStatus{init}
		report := func() {
			now := corev1.PodStatus{Phase: corev1.PodRunning}
			m.Starts.Reported(pod.Spec{Pod: up}, &now, &now, time.Now())
		}
		report() // not there yet
		want(t, m, map[string]string{"kubelet_pod_start_total_duration_seconds": ""})
		up.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}}}
		time.Sleep(time.Second)
		report()
		report() // counted once
		want(t, m, map[string]string{
			"kubelet_pod_start_total_duration_seconds":             "n=1 sum=14",
			"kubelet_pod_start_sli_duration_seconds":               "n=1 sum=2",
			"kubelet_first_network_pod_start_sli_duration_seconds": "2",
			"kubelet_pod_start_duration_seconds":                   "n=0 sum=0",
		})
		if len(m.Starts.pods) != 0 {
			t.Errorf("%d pods are kept", len(m.Starts.pods))
		}
	})
}

func TestStartsThatDoNotCount(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change    func(*corev1.Pod)
		total, sl string
	}{
		"there before the agent": {func(p *corev1.Pod) { p.Status.StartTime = &metav1.Time{Time: time.Now()} }, "", ""},
		"not schedulable at once": {func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{condition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable")}
		}, "", ""},
		"over": {func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, "", ""},
		"with a volume that is attached": {func(p *corev1.Pod) {
			p.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}
		}, "n=1", ""},
		"plain": {func(*corev1.Pod) {}, "n=1", "n=1"},
	} {
		m, p := newMetrics(), newPod("p")
		c.change(p)
		m.Starts.Launched(p)
		run(m, p)
		for family, text := range map[string]string{"kubelet_pod_start_total_duration_seconds": c.total, "kubelet_pod_start_sli_duration_seconds": c.sl} {
			if got, _, _ := strings.Cut(rows(t, m, family), " "); got != text {
				t.Errorf("%s: %s is %q, want %q", name, family, got, text)
			}
		}
		m.Starts.Retired(p.UID)
		if len(m.Starts.pods) != 0 {
			t.Errorf("%s: it is kept", name)
		}
	}
}

// TestPullsAreBounded: a pod whose image can never be pulled costs no more and more.
func TestPullsAreBounded(t *testing.T) {
	t.Parallel()
	m, p := newMetrics(), newPod("p")
	m.Starts.Launched(p)
	for range 10 * maxPulls {
		m.Starts.Pulling(p.UID)
		m.Starts.Pulling("unknown")
	}
	if n := len(m.Starts.pods[p.UID].waiting); n != maxPulls || len(m.Starts.pods) != 1 {
		t.Errorf("%d begins are kept, of %d pods", n, len(m.Starts.pods))
	}
}

func TestEndsAreCountedOnce(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	status := func(init, regular, debug []corev1.ContainerStatus) *corev1.PodStatus {
		return &corev1.PodStatus{InitContainerStatuses: init, ContainerStatuses: regular, EphemeralContainerStatuses: debug}
	}
	list := func(s ...corev1.ContainerStatus) []corev1.ContainerStatus { return s }
	again := ended("c", "2", 137, "OOMKilled")
	again.LastTerminationState.Terminated = ended("c", "1", 3, "Error").State.Terminated
	running := corev1.ContainerStatus{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, LastTerminationState: again.State}
	steps := []*corev1.PodStatus{
		status(nil, list(corev1.ContainerStatus{Name: "c"}), nil),
		status(list(ended("init", "i", 0, "Completed")), list(ended("c", "1", 3, "Error")), nil),
		status(list(ended("init", "i", 0, "Completed")), list(ended("c", "1", 3, "Error")), list(ended("debug", "d", 1<<20, "made up"))),
		status(list(ended("init", "i", 0, "Completed")), list(again), list(ended("debug", "d", 1<<20, "made up"))),
		status(list(ended("init", "i", 0, "Completed")), list(running), list(ended("debug", "d", 1<<20, "made up"))),
	}
	for i := range steps[1:] {
		m.Pods.Reported(steps[i], steps[i+1])
	}
	want(t, m, map[string]string{"kubelet_terminated_containers_total": "container_type=container exit_code=137 reason=OOMKilled 1, " +
		"container_type=container exit_code=3 reason=Error 1, container_type=ephemeral_container exit_code=Other reason=Other 1, " +
		"container_type=init_container exit_code=0 reason=Completed 1"})
}

func TestOperations(t *testing.T) {
	t.Parallel()
	m, p := newMetrics(), newPod("p")
	refused := &pod.Failure{Reason: "RunContainerError", Err: errors.New("x")}
	start := func(name string, err error) {
		c, _ := pod.Find(p, name)
		m.Pods.Operation(p, plan.StartContainer{Container: c}, time.Second, err)
	}
	start("c", nil)
	start("c", refused)
	start("init", nil)
	start("side", &pod.Failure{Reason: "whatever a runtime says", Err: errors.New("x")})
	start("debug", nil)
	start("c", fmt.Errorf("given up: %w", context.Canceled))
	m.Pods.Operation(p, plan.EnsureImage{Use: pod.ImageUse{Key: "c", Container: &p.Spec.Containers[0]}}, time.Second, &pod.Failure{Reason: "ErrImagePull", Err: errors.New("x")})
	m.Pods.Operation(p, plan.EnsureImage{Use: pod.ImageUse{Key: "c", Container: &p.Spec.Containers[0]}}, time.Second, nil)
	m.Pods.Operation(p, plan.CreateSandbox{}, time.Second, nil)
	m.Pods.Operation(nil, plan.StopSandbox{}, time.Second, nil)
	m.Pods.Operation(nil, plan.RemoveLogs{}, time.Second, nil)
	m.Pods.Operation(p, plan.Resize{}, time.Second, nil)
	want(t, m, map[string]string{
		"kubelet_started_containers_total": "container_type=container 3, container_type=ephemeral_container 1, container_type=init_container 2",
		"kubelet_started_containers_errors_total": "code=ErrImagePull container_type=container 1, code=Other container_type=init_container 1, " +
			"code=RunContainerError container_type=container 1",
		"kubelet_started_pods_total":                 "1",
		"kubelet_started_user_namespaced_pods_total": "1",
		"kubelet_pod_worker_duration_seconds": "operation_type=create n=9 sum=9, operation_type=kill n=1 sum=1, " +
			"operation_type=terminated n=1 sum=1, operation_type=update n=1 sum=1",
	})
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	running := corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	exited := corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}
	view := func(stage string, source pod.SourceName, containers ...corev1.ContainerStatus) *pod.View {
		v := &pod.View{Stage: stage, Source: source, Pod: newPod("x"), Status: corev1.PodStatus{ContainerStatuses: containers}}
		if len(containers) > 0 {
			v.Status.Conditions = []corev1.PodCondition{condition(corev1.PodReadyToStartContainers, corev1.ConditionTrue, "")}
		}
		return v
	}
	over := view("Terminated", pod.SourceAPI)
	over.Status.Phase = corev1.PodSucceeded
	m := newMetrics(view("Syncing", pod.SourceAPI, running, running, exited), view("Syncing", pod.SourceFile, running),
		view("Terminating", pod.SourceAPI, exited), over, &pod.View{Stage: "Terminating"})
	m.Pods.Desired([]pod.Spec{{Pod: newPod("a"), Source: pod.SourceAPI}, {Pod: newPod("b"), Source: pod.SourceFile}})
	m.Pods.Desired([]pod.Spec{{Pod: newPod("b"), Source: pod.SourceFile}})
	var none []string
	for r := range strings.SplitSeq(rows(t, m, "kubelet_working_pods"), ", ") {
		if !strings.HasSuffix(r, " 0") {
			none = append(none, r)
		}
	}
	if got, want := strings.Join(none, ", "), "config=desired lifecycle=sync static= 1, config=desired lifecycle=sync static=true 1, "+
		"config=desired lifecycle=terminated static= 1, config=desired lifecycle=terminating static= 1, "+
		"config=runtime_only lifecycle=terminating static=unknown 1"; got != want {
		t.Errorf("working: got %q, want %q", got, want)
	}
	want(t, m, map[string]string{
		"kubelet_running_pods":                 "3",
		"kubelet_running_containers":           "container_state=created 0, container_state=exited 2, container_state=running 3",
		"kubelet_active_pods":                  "static= 2, static=true 1",
		"kubelet_desired_pods":                 "static= 0, static=true 1",
		"kubelet_managed_ephemeral_containers": "4",
	})
}

func TestProbes(t *testing.T) {
	t.Parallel()
	old, p := newPod("p"), newPod("p")
	old.UID = "uid-old"
	views := []*pod.View{{Ref: pod.RefOf(p)}, {Ref: pod.RefOf(old)}}
	m := New(Config{Views: func() []*pod.View { return views }})
	for _, of := range []*corev1.Pod{p, old} {
		m.Probes.Observe(of, "c", pod.ProbeReadiness, "successful", time.Second)
		m.Probes.Observe(of, "c", pod.ProbeReadiness, "failed", time.Second)
		m.Probes.Observe(of, "c", pod.ProbeReadiness, "unknown", 2*time.Second)
	}
	row := func(uid, result string) string {
		return "container=c namespace=shop pod=p pod_uid=" + uid + " probe_type=Readiness result=" + result + " 1"
	}
	want(t, m, map[string]string{
		"prober_probe_total": strings.Join([]string{row("uid-old", "failed"), row("uid-old", "successful"), row("uid-old", "unknown"),
			row("uid-p", "failed"), row("uid-p", "successful"), row("uid-p", "unknown")}, ", "),
		// Two pods of one name are one row: Prometheus takes no row twice.
		"prober_probe_duration_seconds": "container=c namespace=shop pod=p probe_type=Readiness n=4 sum=6",
	})
	m.Probes.Retired(old.UID)
	want(t, m, map[string]string{"prober_probe_duration_seconds": "container=c namespace=shop pod=p probe_type=Readiness n=2 sum=3"})
	m.Probes.Observe(old, "c", pod.ProbeLiveness, "failed", 0) // it ends after its pod
	views = views[:1]
	if got := rows(t, m, "prober_probe_total"); strings.Contains(got, "uid-old") || len(m.Probes.pods) != 1 {
		t.Errorf("what is gone is kept: %s", got)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	inFlight := ""
	h := m.Server.Count("readwrite", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inFlight = rows(t, m, "kubelet_http_inflight_requests") }))
	ask := func(method, path string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Method = method
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	ask(http.MethodGet, "/exec/ns/p/c")
	if inFlight != "long_running=true method=GET path=exec server_type=readwrite 1" {
		t.Errorf("while it is served: %q", inFlight)
	}
	for i := range 200 {
		ask(fmt.Sprint("M", i), fmt.Sprint("/x", i, "/", i))
		ask(http.MethodGet, fmt.Sprint("/metrics/", i))
	}
	ask(http.MethodGet, "/metrics/cadvisor/x")
	ask(http.MethodGet, "/metrics/")
	const row = "long_running=false method=%s path=%s server_type=readwrite %d"
	want(t, m, map[string]string{"kubelet_http_requests_total": strings.Join([]string{
		fmt.Sprintf(row, "GET", "metrics", 1), fmt.Sprintf(row, "GET", "metrics/cadvisor", 1), fmt.Sprintf(row, "GET", "other", 200),
		fmt.Sprintf(row, "other", "other", 200), "long_running=true method=GET path=exec server_type=readwrite 1",
	}, ", ")})
}

func TestBounds(t *testing.T) {
	t.Parallel()
	priority := func(n int32) string { return priorityLabel(&corev1.Pod{Spec: corev1.PodSpec{Priority: &n}}) }
	for _, c := range []struct{ got, want string }{
		{sizeLabel(0), "N/A"}, {sizeLabel(-1), "N/A"}, {sizeLabel(1), "0-10MB"}, {sizeLabel(10 << 20), "0-10MB"}, {sizeLabel(10<<20 + 1), "10MB-100MB"},
		{sizeLabel(1 << 30), "500MB-1GB"}, {sizeLabel(1 << 62), "GT100GB"},
		{refusal("OutOfcpu"), "OutOfcpu"}, {refusal("OutOfexample.com/gpu"), "OutOfExtendedResources"}, {refusal("x"), "Other"},
		{preempting("cpu"), "cpu"}, {preempting("example.com/gpu"), "Other"},
		{exitCode(0), "0"}, {exitCode(255), "255"}, {exitCode(256), "Other"}, {exitCode(-1), "Other"},
		{priority(2_000_000_001), "system-critical"}, {priority(100_000), "high"}, {priority(1), "medium"}, {priority(0), "normal"},
		{priority(-999), "low"}, {priority(-1000), "very-low"}, {priorityLabel(&corev1.Pod{}), "normal"}, {priorityLabel(nil), "unknown"},
		{resourceMode(newPod("p")), "container_level"}, {resourceMode(&corev1.Pod{}), ""},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestResizes(t *testing.T) {
	t.Parallel()
	m, p := newMetrics(), newPod("p")
	changed := func(to corev1.ResourceRequirements) {
		next := p.DeepCopy()
		next.Generation++
		next.Spec.Containers[0].Resources = to
		m.Resizes.Updated(p, next)
		p = next
	}
	changed(resources("200m", "10Mi"))
	changed(resources("100m", "5Mi"))
	changed(resources("", "5Mi"))
	changed(resources("100m", "5Mi"))
	m.Resizes.Updated(p, p.DeepCopy())
	want(t, m, map[string]string{"kubelet_container_requested_resizes_total": "operation=add requirement=requests resource=cpu 1, " +
		"operation=decrease requirement=requests resource=cpu 1, operation=decrease requirement=requests resource=memory 1, " +
		"operation=increase requirement=requests resource=cpu 1, operation=remove requirement=requests resource=cpu 1"})
	with := func(c ...corev1.PodCondition) *corev1.PodStatus { return &corev1.PodStatus{Conditions: c} }
	deferred := condition(corev1.PodResizePending, corev1.ConditionTrue, corev1.PodReasonDeferred)
	infeasible := condition(corev1.PodResizePending, corev1.ConditionTrue, corev1.PodReasonInfeasible)
	m.Resizes.Reported(p, with(), with(deferred))
	m.Resizes.Reported(p, with(deferred), with(deferred))
	m.Resizes.Reported(p, with(deferred), with(condition(corev1.PodResizeInProgress, corev1.ConditionTrue, "")))
	m.Resizes.Reported(p, with(deferred), with())
	m.Resizes.Reported(p, with(), with(infeasible))
	m.Resizes.Reported(p, with(infeasible), with(infeasible))
	var deferrals []string
	for r := range strings.SplitSeq(rows(t, m, "kubelet_pod_deferred_resize_duration_seconds"), ", ") {
		before, _, _ := strings.Cut(r, " sum=")
		deferrals = append(deferrals, before)
	}
	if got := strings.Join(deferrals, ", "); got != "priority_bucket=medium resolution=accepted n=1, priority_bucket=medium resolution=reverted n=1" {
		t.Errorf("deferred: %s", got)
	}
	want(t, m, map[string]string{
		"kubelet_pod_deferred_accepted_resizes_total": "retry_trigger=other 1",
		"kubelet_pod_infeasible_resizes_total":        "reason_detail=other 1",
	})
}

func TestVolumes(t *testing.T) {
	t.Parallel()
	p := newPod("p")
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "claim", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}})
	m := newMetrics(&pod.View{Pod: p, Stage: "Syncing", Phases: []pod.Phase{{Name: "volumes"}}}, &pod.View{Pod: newPod("new"), Stage: "Syncing"}, &pod.View{})
	want(t, m, map[string]string{"volume_manager_total_volumes": ""})
	m.Volumes.Types(func(v *corev1.Volume) string {
		if v.EmptyDir == nil {
			return ""
		}
		return "kubernetes.io/empty-dir"
	})
	m.Volumes.Operation("kubernetes.io/empty-dir", false, time.Second, nil)
	m.Volumes.Operation("", false, time.Second, errors.New("x"))
	m.Volumes.Operation("kubernetes.io/empty-dir", true, time.Second, nil)
	const row = "migrated=false operation_name=%s status=%s volume_plugin=%s n=1 sum=1"
	want(t, m, map[string]string{
		"volume_manager_total_volumes": "plugin_name=N/A state=actual_state_of_world 1, plugin_name=N/A state=desired_state_of_world 1, " +
			"plugin_name=kubernetes.io/empty-dir state=actual_state_of_world 1, plugin_name=kubernetes.io/empty-dir state=desired_state_of_world 2",
		"storage_operation_duration_seconds": strings.Join([]string{fmt.Sprintf(row, "volume_mount", "fail-unknown", "N/A"),
			fmt.Sprintf(row, "volume_mount", "success", "kubernetes.io/empty-dir"), fmt.Sprintf(row, "volume_unmount", "success", "kubernetes.io/empty-dir")}, ", "),
	})
}
