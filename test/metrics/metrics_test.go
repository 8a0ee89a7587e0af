//go:build e2e

package metrics

import (
	"os"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// TestWhatHappensIsCounted does a few things and looks which figures moved.
func TestWhatHappensIsCounted(t *testing.T) {
	b := shared.Bed(t)
	pulled := push(t, b)
	before := scraped(t, b, "metrics")

	for _, name := range []string{"plain-1", "plain-2", "plain-3"} {
		bedtest.Create(t, b, bedtest.NewPod(name, 1, bedtest.Obeys))
	}
	crash := bedtest.NewPod("crash", 1, "exit 3")
	crash.Spec.RestartPolicy = corev1.RestartPolicyNever
	bedtest.Create(t, b, crash)
	nopull := bedtest.NewPod("nopull", 1, "true")
	nopull.Spec.Containers[0].Image = b.Registry + "/none:1"
	bedtest.Create(t, b, nopull)
	refused := bedtest.NewPod("refused", 1, "true")
	refused.Spec.NodeName = b.NodeName
	refused.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("900")}
	bedtest.Create(t, b, refused)
	bedtest.Create(t, b, rich(pulled))

	for _, name := range []string{"plain-1", "plain-2", "plain-3", "rich"} {
		bedtest.Await(t, b.Client(), name, "ready", patience, bedtest.Ready)
	}
	bedtest.Await(t, b.Client(), "crash", "over", patience, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	bedtest.Await(t, b.Client(), "refused", "refused", patience, func(p *corev1.Pod) bool { return p.Status.Reason == "OutOfcpu" })
	bedtest.Await(t, b.Client(), "nopull", "waiting for its image", patience, func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			strings.Contains(p.Status.ContainerStatuses[0].State.Waiting.Reason, "Pull")
	})
	for _, command := range []string{"true", "false"} {
		_, err := b.Kubectl(t.Context(), "exec", "plain-1", "--", command)
		if (err == nil) != (command == "true") {
			t.Errorf("exec %s: %v", command, err)
		}
	}
	resize(t, b)

	steps := []step{
		once("kubelet_started_pods_total", "", 6),
		more("kubelet_started_containers_total", "container_type=container", 6),
		once("kubelet_started_containers_total", "container_type=init_container", 1),
		more("kubelet_started_containers_errors_total", "container_type=container,code=ErrImagePull", 1),
		once("kubelet_terminated_containers_total", "container_type=container,exit_code=3,reason=Error", 1),
		once("kubelet_terminated_containers_total", "container_type=init_container,exit_code=0,reason=Completed", 1),
		once("kubelet_admission_rejections_total", "reason=OutOfcpu", 1),
		once("kubelet_run_podsandbox_duration_seconds", "runtime_handler=", 6),
		more("kubelet_pod_worker_start_duration_seconds", "", 6),
		more("kubelet_pod_worker_duration_seconds", "operation_type=create", 6),
		more("kubelet_pod_start_duration_seconds", "", 4),
		more("kubelet_pod_start_sli_duration_seconds", "", 4),
		more("kubelet_pod_start_total_duration_seconds", "", 4),
		more("kubelet_pod_status_sync_duration_seconds", "", 6),
		once("kubelet_image_pull_duration_seconds", "image_size_in_bytes=0-10MB", 1),
		more("kubelet_image_manager_ensure_image_requests_total", "pull_policy=ifnotpresent,present_locally=true,pull_required=false", 5),
		once("kubelet_runtime_operations_total", "operation_type=exec", 2),
		once("kubelet_runtime_operations_total", "operation_type=run_podsandbox", 6),
		more("kubelet_runtime_operations_errors_total", "operation_type=pull_image", 1),
		once("kubelet_http_requests_total", "method=GET,path=exec,server_type=readwrite,long_running=true", 2),
		once("kubelet_http_requests_duration_seconds", "path=exec", 2),
		once("kubelet_websocket_streaming_requests_total", "subresource=exec", 2),
		more("kubelet_cgroup_manager_duration_seconds", "operation_type=create", 6),
		more("storage_operation_duration_seconds", "volume_plugin=kubernetes.io/empty-dir,operation_name=volume_mount,status=success,migrated=false", 1),
		more("volume_operation_total_seconds", "plugin_name=kubernetes.io/empty-dir,operation_name=overall_volume_mount", 1),
		once("volume_manager_total_volumes", "plugin_name=kubernetes.io/empty-dir,state=actual_state_of_world", 1),
		once("volume_manager_total_volumes", "plugin_name=kubernetes.io/empty-dir,state=desired_state_of_world", 1),
		once("kubelet_container_requested_resizes_total", "resource=cpu,requirement=requests,operation=increase", 1),
		once("kubelet_pod_resize_duration_milliseconds", "success=true", 1),
		once("kubelet_containers_per_pod_count", "", 6),
		once("kubelet_pod_level_resources_admission_total", "config_mode=,qos_class=besteffort", 5),
		more("rest_client_requests_total", "code=200,method=PATCH", 6),
		more("kubelet_pleg_relist_duration_seconds", "", 1),
		more("kubelet_pleg_pod_relist_duration_seconds", "", 6),
		once("kubelet_running_pods", "", 5), // the one that has no image has a sandbox
		once("kubelet_running_containers", "container_state=running", 4),
		once("kubelet_active_pods", "static=", 5),
		once("kubelet_desired_pods", "static=", 7),
		once("kubelet_working_pods", "lifecycle=sync,config=desired,static=", 5),
	}
	await(t, b, "metrics", func(now scrape) []string { return wrong(steps, before, now) })
}

// rich is a pod with an init container, a probe of each kind, a volume, and an
// image that is not on the node.
func rich(image string) *corev1.Pod {
	p := bedtest.NewPod("rich", 1, "mkdir /tmp/x; "+bedtest.Obeys)
	p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: bedtest.Image, Command: []string{"true"}}}
	c := &p.Spec.Containers[0]
	c.Image = image
	c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}
	c.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	probe := func(command ...string) *corev1.Probe {
		return &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: command}}}
	}
	c.StartupProbe, c.LivenessProbe, c.ReadinessProbe = probe("test", "-d", "/tmp/x"), probe("true"), probe("true")
	return p
}

// push puts an image into the registry that the node does not have.
func push(t *testing.T, b *bed.Bed) string {
	t.Helper()
	img, err := b.SmallImage(map[string]string{"/metrics": "x"}, v1.Config{})
	must(t, "making an image", err)
	name, err := b.PushImage(t.Context(), "metrics:1", img)
	must(t, "pushing an image", err)
	return name
}

// resize asks for more CPU for a running pod and waits until it has it.
func resize(t *testing.T, b *bed.Bed) {
	t.Helper()
	_, err := b.Client().CoreV1().Pods(bedtest.Namespace).Patch(t.Context(), "rich", types.StrategicMergePatchType,
		[]byte(`{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"20m"}}}]}}`), metav1.PatchOptions{}, "resize")
	must(t, "resizing", err)
	bedtest.Await(t, b.Client(), "rich", "resized", patience, func(p *corev1.Pod) bool {
		r := p.Status.ContainerStatuses[0].Resources
		return r != nil && r.Requests.Cpu().MilliValue() == 20
	})
}

// TestProbes: the runs of probes are counted by pod, and forgotten with it.
func TestProbes(t *testing.T) {
	b := shared.Bed(t)
	p := bedtest.NewPod("probed", 1, bedtest.Obeys)
	exec := func(command string) *corev1.Probe {
		return &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 100, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{command}}}}
	}
	p.Spec.Containers[0].LivenessProbe, p.Spec.Containers[0].ReadinessProbe = exec("true"), exec("false")
	uid := string(bedtest.Create(t, b, p).UID)
	const mine = "container=a,pod=probed,namespace=default"
	await(t, b, "metrics/probes", func(now scrape) []string {
		return wrong([]step{
			more("prober_probe_total", mine+",probe_type=Liveness,result=successful,pod_uid="+uid, 2),
			more("prober_probe_total", mine+",probe_type=Readiness,result=failed,pod_uid="+uid, 2),
			more("prober_probe_duration_seconds", mine+",probe_type=Liveness", 2),
			more("process_start_time_seconds", "", 1),
		}, nil, now)
	})
	now := int64(0)
	must(t, "deleting the pod", b.Client().CoreV1().Pods(bedtest.Namespace).Delete(t.Context(), "probed", metav1.DeleteOptions{GracePeriodSeconds: &now}))
	await(t, b, "metrics/probes", func(now scrape) []string {
		if _, rows := now.sum("prober_probe_total", "pod=probed"); rows > 0 {
			return []string{"the pod's series are still there"}
		}
		return nil
	})
}

// TestShapes: every family that is shown has the type and the label keys that were
// recorded of a kubelet, and those that every node shows are there.
func TestShapes(t *testing.T) {
	b := shared.Bed(t)
	known := map[string][2]string{}
	for _, name := range []string{"metrics", "rare", "probes"} {
		text, err := os.ReadFile("../../internal/metrics/testdata/kubelet-v1.37.1-" + name + ".txt")
		must(t, "reading the recorded families", err)
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 3 {
				known[f[0]] = [2]string{f[1], f[2]}
			}
		}
	}
	p := bedtest.NewPod("shape", 1, bedtest.Obeys)
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	bedtest.Create(t, b, p)
	bedtest.Await(t, b.Client(), "shape", "ready", patience, bedtest.Ready)
	var got scrape
	await(t, b, "metrics", func(now scrape) (missing []string) {
		got = now
		for _, name := range always() {
			if now[name] == nil {
				missing = append(missing, name+" is not shown")
			}
		}
		return missing
	})
	for name, f := range got {
		is := [2]string{strings.ToLower(f.GetType().String()), labelKeys(f)}
		switch want, there := known[name]; {
		case !there && !strings.HasPrefix(name, "nodeagent_"):
			t.Errorf("%s was not seen with a kubelet", name)
		case there && is != want:
			t.Errorf("%s is %v, want %v", name, is, want)
		}
	}
	if n, _ := got.sum("kubelet_node_name", "node="+b.NodeName); n != 1 {
		t.Errorf("the node's name is %v", got["kubelet_node_name"])
	}
	if n, _ := got.sum("kubelet_node_startup_duration_seconds", ""); n <= 0 {
		t.Errorf("the node took %v s to start", n)
	}
}

// always are families that every node with a pod shows.
func always() []string {
	return []string{
		"kubelet_node_name", "kubelet_running_pods", "kubelet_running_containers", "kubelet_runtime_operations_total",
		"kubelet_pod_start_sli_duration_seconds", "kubelet_pleg_relist_duration_seconds", "kubelet_pleg_last_seen_seconds",
		"kubelet_cgroup_manager_duration_seconds", "storage_operation_duration_seconds", "volume_manager_total_volumes",
		"kubelet_http_requests_total", "kubelet_node_startup_duration_seconds", "rest_client_requests_total", "rest_client_request_duration_seconds",
		"workqueue_depth", "process_cpu_seconds_total", "process_resident_memory_bytes", "go_goroutines", "kubernetes_build_info",
		"kubernetes_feature_enabled", "apiserver_delegated_authz_request_total",
	}
}
