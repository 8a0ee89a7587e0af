//go:build e2e

package stats

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	mega   = 1 << 20
	idle   = "sleep 100000"
	noMore = 1 << 62 // any figure
)

// TestShape: what a pod with two containers and volumes shows.
func TestShape(t *testing.T) {
	n := cluster(t)
	_, err := n.bed.Client().CoreV1().ConfigMaps(bedtest.Namespace).Create(t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "shape"}, Data: map[string]string{"key": "value"}}, metav1.CreateOptions{})
	bedtest.Must(t, "creating a config map", err)
	p := newPod("shape", "head -c 3000000 /dev/zero > /empty/file; "+idle, idle)
	p.Spec.Volumes = []corev1.Volume{
		{Name: "empty", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "map", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "shape"},
		}}},
		{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/usr"}}},
	}
	for _, v := range p.Spec.Volumes {
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
	}
	made := n.started(p)
	s, got := n.summary("shape", func(p *statsapi.PodStats) error {
		return errors.Join(volumes(p), whole(p))
	})
	if got.PodRef.Namespace != bedtest.Namespace || got.PodRef.UID != string(made.UID) {
		t.Errorf("%+v", got.PodRef)
	}
	if d := got.StartTime.Sub(made.CreationTimestamp.Time).Seconds(); d < -2 || d > patience.Seconds() {
		t.Errorf("it started %f s after it was made", d)
	}
	wholeNode(t, &s, n.bed.NodeName)
	var brief statsapi.Summary
	text, err := n.get("stats/summary?only_cpu_and_memory=true")
	bedtest.Must(t, "asking for CPU and memory", err)
	bedtest.Must(t, "reading the answer", json.Unmarshal([]byte(text), &brief))
	if q := podOf(&brief, "shape"); q == nil || q.CPU == nil || q.Memory == nil || q.VolumeStats != nil || q.EphemeralStorage != nil ||
		q.Network != nil || containerOf(q, "a").Logs != nil || brief.Node.Fs != nil || brief.Node.Memory == nil {
		t.Errorf("CPU and memory alone: %s", text)
	}
}

// volumes are those of TestShape, without that of the host.
func volumes(p *statsapi.PodStats) error {
	var names []string
	for _, v := range p.VolumeStats {
		names = append(names, v.Name)
		least := map[string]uint64{"empty": 3000000, "map": 1}[v.Name]
		if err := errors.Join(
			within(v.Name+" used", v.UsedBytes, least, least+mega), within(v.Name+" capacity", v.CapacityBytes, mega, noMore),
			within(v.Name+" available", v.AvailableBytes, 1, noMore), within(v.Name+" inodes used", v.InodesUsed, 2, 10),
		); err != nil {
			return err
		}
	}
	slices.Sort(names)
	if p.EphemeralStorage == nil || !slices.Equal(names, []string{"empty", "map"}) {
		return fmt.Errorf("the volumes are %v", names)
	}
	return within("ephemeral storage", p.EphemeralStorage.UsedBytes, 3000000, 3000000+4*mega)
}

// whole checks that nothing is missing of a pod with the containers a and b.
func whole(p *statsapi.PodStats) error {
	if len(p.Containers) != 2 || p.CPU == nil || p.Memory == nil || p.Swap == nil || p.IO == nil || p.Network == nil || p.ProcessStats == nil {
		return fmt.Errorf("something is missing: %+v", p)
	}
	failed := []error{
		within("processes", p.ProcessStats.ProcessCount, 2, 3), within("pod's CPU", p.CPU.UsageCoreNanoSeconds, 1, noMore),
		within("pod's memory", p.Memory.WorkingSetBytes, 1, noMore), within("rx", p.Network.RxBytes, 0, noMore),
	}
	if p.Network.Name != "eth0" || len(p.Network.Interfaces) != 1 {
		failed = append(failed, fmt.Errorf("network: %+v", p.Network))
	}
	for _, c := range p.Containers {
		if c.CPU == nil || c.Memory == nil || c.Swap == nil || c.Rootfs == nil || c.Logs == nil || c.StartTime.IsZero() || c.CPU.UsageNanoCores == nil {
			return fmt.Errorf("something is missing: %+v", c)
		}
		failed = append(failed,
			within("CPU", c.CPU.UsageCoreNanoSeconds, 1, noMore), within("usage", c.Memory.UsageBytes, 1, noMore),
			within("working set", c.Memory.WorkingSetBytes, 1, noMore), within("RSS", c.Memory.RSSBytes, 1, noMore),
			within("page faults", c.Memory.PageFaults, 1, noMore), within("rootfs", c.Rootfs.UsedBytes, 1, noMore),
			within("rootfs capacity", c.Rootfs.CapacityBytes, mega, noMore), within("rootfs inodes", c.Rootfs.InodesUsed, 1, noMore),
			within("logs", c.Logs.UsedBytes, 0, mega), within("log files", c.Logs.InodesUsed, 1, 1))
	}
	return errors.Join(failed...)
}

func wholeNode(t *testing.T, s *statsapi.Summary, name string) {
	t.Helper()
	m := s.Node
	if m.NodeName != name || m.StartTime.IsZero() || m.CPU == nil || m.Memory == nil || m.Network == nil || m.Fs == nil || m.Runtime == nil ||
		m.Runtime.ImageFs == nil || m.Runtime.ContainerFs == nil || m.Rlimit == nil || m.Swap == nil {
		t.Fatalf("something is missing: %+v", m)
	}
	for _, err := range []error{
		within("CPU", m.CPU.UsageCoreNanoSeconds, 1, noMore), within("cores", m.CPU.UsageNanoCores, 1, noMore),
		within("available memory", m.Memory.AvailableBytes, mega, noMore), within("working set", m.Memory.WorkingSetBytes, mega, noMore),
		within("disk", m.Fs.UsedBytes, mega, noMore), within("disk's capacity", m.Fs.CapacityBytes, *m.Fs.UsedBytes, noMore),
		within("images", m.Runtime.ImageFs.UsedBytes, mega, noMore), within("images' disk", m.Runtime.ImageFs.CapacityBytes, mega, noMore),
	} {
		if err != nil {
			t.Errorf("node: %v", err)
		}
	}
	if *m.Rlimit.MaxPID < *m.Rlimit.NumOfRunningProcesses || *m.Rlimit.NumOfRunningProcesses < 1 {
		t.Errorf("node: %d of %d tasks", *m.Rlimit.NumOfRunningProcesses, *m.Rlimit.MaxPID)
	}
	var pods *statsapi.ContainerStats
	for i := range m.SystemContainers {
		if m.SystemContainers[i].Name == statsapi.SystemContainerPods {
			pods = &m.SystemContainers[i]
		}
	}
	if pods == nil || pods.CPU == nil || pods.Memory == nil || pods.StartTime.IsZero() {
		t.Errorf("node: all pods: %+v", pods)
	}
}

// TestCPU: who burns as much as he may shows that.
func TestCPU(t *testing.T) {
	n := cluster(t)
	p := newPod("burner", "while :; do :; done")
	p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	n.started(p)
	var seen uint64
	n.summary("burner", func(p *statsapi.PodStats) error {
		c := containerOf(p, "a")
		if c == nil || c.CPU == nil || p.CPU == nil {
			return errors.New("the container is not shown")
		}
		before := seen
		seen = *c.CPU.UsageCoreNanoSeconds
		// A machine that is busy with other things gives it less than its limit.
		return errors.Join(within("cores", c.CPU.UsageNanoCores, 50_000_000, 115_000_000), within("pod's cores", p.CPU.UsageNanoCores, 50_000_000, 130_000_000),
			within("CPU in all", c.CPU.UsageCoreNanoSeconds, max(before, 1), noMore))
	})
}

// TestMemory: what a process has touched is in its working set.
func TestMemory(t *testing.T) {
	n := cluster(t)
	// dd's buffer is memory of its own, which it touches when it reads.
	p := newPod("eater", "mkfifo /fifo; (sleep 100000 < /fifo) & dd if=/dev/zero bs=40M of=/fifo")
	p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("100Mi")}
	n.started(p)
	n.summary("eater", func(p *statsapi.PodStats) error {
		c := containerOf(p, "a")
		if c == nil || c.Memory == nil || p.Memory == nil {
			return errors.New("the container is not shown")
		}
		return errors.Join(
			within("working set", c.Memory.WorkingSetBytes, 40*mega, 48*mega), within("RSS", c.Memory.RSSBytes, 40*mega, 48*mega),
			within("available", c.Memory.AvailableBytes, 52*mega, 60*mega), within("pod's working set", p.Memory.WorkingSetBytes, 40*mega, 50*mega))
	})
}

// TestWritten: logs, what is written to the container's own files, and the network.
func TestWritten(t *testing.T) {
	n := cluster(t)
	line := strings.Repeat("x", 99)
	p := newPod("writer", "head -c 5000000 /dev/zero > /written; i=0; while [ $i -lt 2000 ]; do echo "+line+"; i=$((i+1)); done; "+
		"while :; do nc -w 1 -z $NODE 1; sleep 0.2; done", idle)
	p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "NODE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.hostIP"}}}}
	n.started(p)
	_, first := n.summary("writer", func(p *statsapi.PodStats) error {
		c := containerOf(p, "a")
		if c == nil || c.Rootfs == nil || c.Logs == nil || p.Network == nil || p.EphemeralStorage == nil {
			return fmt.Errorf("something is missing: %+v", p)
		}
		return errors.Join(within("logs", c.Logs.UsedBytes, 2000*100, 2000*100*2), within("rootfs", c.Rootfs.UsedBytes, 5000000, 5000000+mega),
			within("ephemeral storage", p.EphemeralStorage.UsedBytes, 5000000+2000*100, 5000000+2*mega))
	})
	n.summary("writer", func(p *statsapi.PodStats) error {
		if p.Network == nil {
			return errors.New("the network is not shown")
		}
		return within("bytes sent", p.Network.TxBytes, *first.Network.TxBytes+1, noMore)
	})
	metrics, err := n.get("metrics")
	bedtest.Must(t, "asking for metrics", err)
	if !strings.Contains(metrics, `kubelet_container_log_filesystem_used_bytes{container="a",namespace="default",pod="writer",uid="`) {
		t.Error("/metrics does not show the logs")
	}
}

// TestResource: the families of /metrics/resource, their labels and times.
func TestResource(t *testing.T) {
	n := cluster(t)
	p := newPod("resource", idle, idle)
	n.started(p)
	n.summary("resource", func(p *statsapi.PodStats) error {
		if len(p.Containers) != 2 {
			return errors.New("a container is missing")
		}
		return nil
	})
	text, err := n.get("metrics/resource")
	bedtest.Must(t, "asking for resources", err)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	bedtest.Must(t, "reading the answer", err)
	for name, labels := range map[string]string{
		"container_cpu_usage_seconds_total": "container,namespace,pod", "container_memory_working_set_bytes": "container,namespace,pod",
		"container_start_time_seconds": "container,namespace,pod", "container_swap_usage_bytes": "container,namespace,pod",
		"pod_cpu_usage_seconds_total": "namespace,pod", "pod_memory_working_set_bytes": "namespace,pod", "pod_swap_usage_bytes": "namespace,pod",
		"node_cpu_usage_seconds_total": "", "node_memory_working_set_bytes": "", "node_swap_usage_bytes": "", "resource_scrape_error": "",
	} {
		f := families[name]
		if f == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		for _, m := range f.GetMetric() {
			var names []string
			for _, l := range m.GetLabel() {
				names = append(names, l.GetName())
			}
			timed := name != "container_start_time_seconds" && name != "resource_scrape_error"
			if got := strings.Join(names, ","); got != labels || (m.TimestampMs != nil) != timed {
				t.Errorf("%s: labels %s, timestamp %v", name, got, m.TimestampMs)
			}
		}
	}
	if v := families["resource_scrape_error"].GetMetric()[0].GetGauge().GetValue(); v != 0 {
		t.Errorf("there was an error")
	}
}
