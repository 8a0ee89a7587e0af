//go:build e2e

package monitoring

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed"
)

// questions are those of the dashboards and alerts that most clusters have, asked
// about the pod "watched", of which the answers are known.
func questions(t *testing.T) []question {
	t.Helper()
	return slices.Concat(containerQuestions(t), resourceQuestions(t), agentQuestions(t))
}

// Shares of a CPU that a burner uses: all it may have, unless the machine is slow.
const leastBurnt, mostBurnt = 0.6 * millis / 1000, 1.15 * millis / 1000

// containerQuestions are about /metrics/cadvisor.
func containerQuestions(t *testing.T) []question {
	t.Helper()
	const of = `{metrics_path="/metrics/cadvisor",namespace="default",pod="watched",`
	const burner, hog, server = of + `container="a",image!=""}`, of + `container="b",image!=""}`, of + `container="c",image!=""}`
	const pod = of + `container="",image=""}`
	started := float64(time.Now().Add(-time.Hour).Unix())
	return []question{
		{`sum by (way) (rate(container_cpu_usage_seconds_total` + burner + `[1m]))`, leastBurnt, mostBurnt},
		{`sum by (way) (rate(container_cpu_user_seconds_total` + burner + `[1m])) + sum by (way) (rate(container_cpu_system_seconds_total` + burner + `[1m]))`, 0.5 * leastBurnt, 1.5 * mostBurnt},
		{`rate(container_cpu_cfs_throttled_periods_total` + burner + `[1m]) / rate(container_cpu_cfs_periods_total` + burner + `[1m])`, 0.2, 1},
		{`container_spec_cpu_quota` + burner + ` / container_spec_cpu_period` + burner, millis / 1000.0, millis / 1000.0},
		{`container_memory_working_set_bytes` + hog, hogged, 1.1 * hogged},
		{`container_memory_usage_bytes` + hog, hogged, 1.1 * hogged},
		{`container_memory_rss` + hog, 0.98 * hogged, 1.1 * hogged},
		{`container_memory_cache` + hog, 0, 16 * mebi},
		{`container_memory_swap` + hog, 0, 16 * mebi},
		{`container_spec_memory_limit_bytes` + hog, 192 * mebi, 192 * mebi},
		{`container_memory_working_set_bytes` + server, 0.05 * mebi, 32 * mebi},
		{`container_start_time_seconds` + server, started, math.Inf(1)},
		{`container_memory_working_set_bytes` + pod, hogged, 1.2 * hogged},
		{`sum by (way) (rate(container_cpu_usage_seconds_total` + pod + `[1m]))`, leastBurnt, 1.5 * mostBurnt},
		{`sum by (way, interface) (rate(container_network_receive_bytes_total` + of + `interface="eth0"}[1m]))`, 1, 1e6},
		{`sum by (way, interface) (rate(container_network_transmit_packets_total` + of + `interface="eth0"}[1m]))`, 0.1, 1e6},
		{`sum by (way) (container_network_receive_packets_dropped_total` + of + `interface="eth0"})`, 0, 1e3},
		{`time() - timestamp(container_memory_working_set_bytes` + hog + `)`, -1, oldest.Seconds()},
		{`time() - container_last_seen` + hog, -1, oldest.Seconds()},
		{`count by (way) (container_memory_working_set_bytes` + of + `container!="",image!=""})`, 3, 3},
		{`machine_cpu_cores`, float64(runtime.NumCPU()), float64(runtime.NumCPU())},
		{`machine_memory_bytes`, memory(t), memory(t)},
		{`container_memory_working_set_bytes{id="/"}`, hogged, memory(t)},
	}
}

// resourceQuestions are about /metrics/resource.
func resourceQuestions(t *testing.T) []question {
	t.Helper()
	const of = `{metrics_path="/metrics/resource",namespace="default",pod="watched"`
	return []question{
		{`rate(container_cpu_usage_seconds_total` + of + `,container="a"}[1m])`, leastBurnt, mostBurnt},
		{`container_memory_working_set_bytes` + of + `,container="b"}`, hogged, 1.1 * hogged},
		{`container_start_time_seconds` + of + `}`, float64(time.Now().Add(-time.Hour).Unix()), math.Inf(1)},
		{`count by (way) (container_memory_working_set_bytes` + of + `})`, 3, 3},
		{`rate(pod_cpu_usage_seconds_total` + of + `}[1m])`, leastBurnt, 1.5 * mostBurnt},
		{`pod_memory_working_set_bytes` + of + `}`, hogged, 1.2 * hogged},
		{`time() - timestamp(container_memory_working_set_bytes` + of + `})`, -1, oldest.Seconds()},
		{`time() - timestamp(container_cpu_usage_seconds_total` + of + `})`, -1, oldest.Seconds()},
		{`time() - timestamp(pod_memory_working_set_bytes` + of + `})`, -1, oldest.Seconds()},
		{`time() - timestamp(node_cpu_usage_seconds_total)`, -1, oldest.Seconds()},
		{`rate(node_cpu_usage_seconds_total[1m])`, leastBurnt, 1.15 * float64(runtime.NumCPU())},
		{`node_memory_working_set_bytes`, hogged, memory(t)},
		{`resource_scrape_error`, 0, 0},
	}
}

// agentQuestions are about /metrics, /metrics/probes and /metrics/slis.
func agentQuestions(t *testing.T) []question {
	t.Helper()
	list := []question{
		{`kubelet_node_name{node!=""}`, 1, 1},
		{`kubelet_running_pods`, 2, 20},
		{`kubelet_running_containers{container_state="running"}`, 4, 40},
		{`sum by (way) (rate(kubelet_runtime_operations_total[2m]))`, 0.01, 1e4},
		{`sum by (way) (rate(rest_client_requests_total{code=~"2.."}[2m]))`, 0.001, 1e4},
		{`sum by (way) (storage_operation_duration_seconds_count)`, 1, 1e5},
		{`sum by (way) (volume_manager_total_volumes{state="actual_state_of_world"})`, 1, 1e4},
		{`sum by (way) (kubelet_started_pods_total)`, 5, 1e4},
		{`sum by (way) (kubelet_started_containers_total{container_type="container"})`, 5, 1e4},
		{`sum by (way) (kubelet_http_requests_total{path="metrics/cadvisor"})`, 1, 1e6},
		{`process_resident_memory_bytes{metrics_path="/metrics"}`, 5 * mebi, 1024 * mebi},
		{`rate(process_cpu_seconds_total{job="kubelet"}[2m])`, 0.0001, 4},
		{`go_goroutines{job="kubelet"}`, 5, 1e5},
		{`count by (way) (kubernetes_build_info{git_version=~"v1\\..*"})`, 1, 1},
		{`rate(prober_probe_total{pod="watched",probe_type="Readiness",result="successful"}[1m])`, 0.1, 2},
		{`rate(prober_probe_total{pod="watched",probe_type="Liveness",result="successful"}[1m])`, 0.1, 2},
		{`kubernetes_healthcheck`, 1, 1},
		{`kubernetes_healthchecks_total{status="success"}`, 1, math.Inf(1)},
	}
	for _, name := range []string{
		"kubelet_pod_start_sli_duration_seconds", "kubelet_pod_start_duration_seconds", "kubelet_pod_worker_duration_seconds",
		"kubelet_runtime_operations_duration_seconds", "kubelet_cgroup_manager_duration_seconds", "kubelet_pleg_relist_duration_seconds",
		"kubelet_pleg_relist_interval_seconds", "rest_client_request_duration_seconds",
	} {
		list = append(list, question{`histogram_quantile(0.99, sum by (way, le) (rate(` + name + `_bucket{job="kubelet"}[5m])))`, 0, 600})
	}
	for _, name := range []string{"capacity_bytes", "available_bytes", "inodes", "inodes_free"} {
		list = append(list, question{`kubelet_volume_stats_` + name + `{namespace="default",persistentvolumeclaim="watched"}`, 1, math.Inf(1)})
	}
	for _, name := range []string{"used_bytes", "inodes_used"} {
		list = append(list, question{`kubelet_volume_stats_` + name + `{namespace="default",persistentvolumeclaim="watched"}`, 0, math.Inf(1)})
	}
	return list
}

// claimed is a volume of a claim that a folder of this machine satisfies.
func claimed(t *testing.T, b *bed.Bed, name string) corev1.Volume {
	t.Helper()
	dir := filepath.Join(b.Dir, "volume-"+name)
	must(t, "making a folder", os.Mkdir(dir, 0o755))
	size, none := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}, ""
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	_, err := b.Client().CoreV1().PersistentVolumes().Create(t.Context(), &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: size, AccessModes: modes, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{b.NodeName}}},
			}}}},
		},
	}, metav1.CreateOptions{})
	must(t, "creating a volume", err)
	_, err = b.Client().CoreV1().PersistentVolumeClaims(namespace).Create(t.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &none, VolumeName: name, AccessModes: modes, Resources: corev1.VolumeResourceRequirements{Requests: size},
		},
	}, metav1.CreateOptions{})
	must(t, "creating a claim", err)
	return corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
	}}
}
