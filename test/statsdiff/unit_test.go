//go:build !e2e

package statsdiff

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/diff"
)

func corpus(t *testing.T) []Case {
	t.Helper()
	all, err := Cases(Names{"HOST": "/host", "NODE": "node", "IMAGE": "image", "AGNHOST": "agnhost", "REGISTRY": "registry"})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestCorpus: there is a pod of each kind whose figures differ.
func TestCorpus(t *testing.T) {
	open := regexp.MustCompile(`@[A-Z]+@`)
	seen := map[string]bool{}
	for _, c := range corpus(t) {
		p := c.Pod
		if text := p.String(); open.MatchString(text) {
			t.Errorf("pod %s has something open: %s", p.Name, open.FindString(text))
		}
		seen[c.Until] = true
		seen["static"] = seen["static"] || c.Static
		seen["host network"] = seen["host network"] || p.Spec.HostNetwork
		seen["of the pod"] = seen["of the pod"] || p.Spec.Resources != nil
		for _, v := range p.Spec.Volumes {
			seen["claim"] = seen["claim"] || v.PersistentVolumeClaim != nil
			seen["empty"] = seen["empty"] || v.EmptyDir != nil
		}
		for _, k := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
			if k.Image == "" || c.Static == (p.Spec.NodeName != "") {
				t.Errorf("pod %s: container %s is not complete", p.Name, k.Name)
			}
			seen["sidecar"] = seen["sidecar"] || k.RestartPolicy != nil && *k.RestartPolicy == corev1.ContainerRestartPolicyAlways
			for _, probe := range []*corev1.Probe{k.LivenessProbe, k.ReadinessProbe, k.StartupProbe} {
				if probe != nil {
					seen["http"] = seen["http"] || probe.HTTPGet != nil
					seen["tcp"] = seen["tcp"] || probe.TCPSocket != nil
					seen["grpc"] = seen["grpc"] || probe.GRPC != nil
					seen["exec"] = seen["exec"] || probe.Exec != nil
				}
			}
		}
	}
	for _, what := range []string{
		untilReady, untilRunning, untilCrashLoop, untilWaiting, untilSucceeded, untilFailed, "static", "host network", "of the pod",
		"claim", "empty", "sidecar", "http", "tcp", "grpc", "exec",
	} {
		if !seen[what] {
			t.Errorf("no pod of the corpus has: %s", what)
		}
	}
}

// names knows a pod, its sandbox and its container.
func names() *Places {
	n := &diff.Normaliser{}
	n.Name("/bed", "$CGROUP")
	n.Name("0f1a2b3c-0000-4000-8000-000000000001", "$UID(two)")
	n.Name(strings.Repeat("a", 64), "$CONTAINER(two/a)")
	n.Name(strings.Repeat("b", 64), "$SANDBOX(two)")
	return NewPlaces(n, "/beds")
}

const exposition = `# HELP container_spec_cpu_shares Shares.
# TYPE container_spec_cpu_shares gauge
container_spec_cpu_shares{container="a",id="/bed/kubepods/pod0f1a2b3c-0000-4000-8000-000000000001/AAAA",image="i:1",name="AAAA",namespace="default",pod="two"} 51
# HELP container_fs_usage_bytes Bytes.
# TYPE container_fs_usage_bytes gauge
container_fs_usage_bytes{container="",device="/dev/a",id="/",image="",name="",namespace="",pod=""} 1 1795273516235
container_fs_usage_bytes{container="",device="/beds/x/shm",id="/",image="",name="",namespace="",pod=""} 1 1795273516235
# HELP container_network_receive_bytes_total Bytes.
# TYPE container_network_receive_bytes_total counter
container_network_receive_bytes_total{container="",id="/bed/kubepods/pod0f1a2b3c-0000-4000-8000-000000000001/BBBB",image="p:1",interface="eth0",name="BBBB",namespace="default",pod="two"} 7 1795273516235
container_network_receive_bytes_total{container="",id="/",image="",interface="nab31",name="",namespace="",pod=""} 7
# HELP kubelet_operations_seconds Seconds.
# TYPE kubelet_operations_seconds histogram
kubelet_operations_seconds_bucket{operation_type="list",le="0.5"} 1
kubelet_operations_seconds_bucket{operation_type="list",le="+Inf"} 1
kubelet_operations_seconds_sum{operation_type="list"} 0.1
kubelet_operations_seconds_count{operation_type="list"} 1
# HELP kubelet_running_pods Pods.
# TYPE kubelet_running_pods gauge
kubelet_running_pods 4
`

func fill(text string) string {
	return strings.NewReplacer("AAAA", strings.Repeat("a", 64), "BBBB", strings.Repeat("b", 64)).Replace(text)
}

// TestRows: what a row is about has a name, and what is special about a run has
// none.
func TestRows(t *testing.T) {
	p := names()
	rows := &Rows{Place: p.Text, Skip: p.Skip}
	got, err := rows.Facts(strings.NewReader(fill(exposition)))
	if err != nil {
		t.Fatal(err)
	}
	ids := "container,device,id,image,name,namespace,pod"
	want := diff.Facts{
		"container_spec_cpu_shares type":       "gauge",
		"container_spec_cpu_shares labels":     "container,id,image,name,namespace,pod",
		"container_spec_cpu_shares timestamps": "no",
		"container_spec_cpu_shares on two/a": "container:a id:$CGROUP/kubepods/pod$UID(two)/$CONTAINER(two/a) image:i:1 " +
			"name:$CONTAINER(two/a) namespace:default pod:two value 51",
		"container_fs_usage_bytes type":                    "gauge",
		"container_fs_usage_bytes labels":                  ids,
		"container_fs_usage_bytes timestamps":              "yes",
		"container_fs_usage_bytes on id / {device:/dev/a}": "id:/",
		"container_network_receive_bytes_total type":       "counter",
		"container_network_receive_bytes_total labels":     strings.ReplaceAll(ids, "device,id,image", "id,image,interface"),
		"container_network_receive_bytes_total timestamps": "some",
		"container_network_receive_bytes_total on two/(sandbox) {interface:eth0}": "id:$CGROUP/kubepods/pod$UID(two)/$SANDBOX(two) " +
			"image:p:1 name:$SANDBOX(two) namespace:default pod:two",
		"container_network_receive_bytes_total on id / {interface:$BRIDGE}": "id:/",
		"kubelet_operations_seconds type":                                   "histogram",
		"kubelet_operations_seconds labels":                                 "operation_type",
		"kubelet_operations_seconds timestamps":                             "no",
		"kubelet_operations_seconds buckets":                                "0.5 +Inf",
		"kubelet_operations_seconds {operation_type:list}":                  "seen",
		"kubelet_running_pods type":                                         "gauge",
		"kubelet_running_pods labels":                                       "",
		"kubelet_running_pods timestamps":                                   "no",
		"kubelet_running_pods":                                              "row value 4",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("facts (-want +got):\n%s", d)
	}
}

// TestRowsRefuse: what Prometheus would not take is an error.
func TestRowsRefuse(t *testing.T) {
	for name, text := range map[string]string{
		"twice":      "# TYPE a gauge\na{x=\"1\"} 1\na{x=\"1\"} 2\n",
		"no number":  "# TYPE a gauge\na one\n",
		"open quote": "# TYPE a gauge\na{x=\"1} 1\n",
		"two types":  "# TYPE a gauge\n# TYPE a counter\na 1\n",
	} {
		p := names()
		if facts, err := (&Rows{Place: p.Text, Skip: p.Skip}).Facts(strings.NewReader(text)); err == nil {
			t.Errorf("%s: taken for %v", name, facts)
		}
	}
}

// TestSummary: every path of the JSON, by the names of pods and containers.
func TestSummary(t *testing.T) {
	text := `{"node":{"nodeName":"node","cpu":{"time":"2026-11-21T15:05:18Z","usageNanoCores":0}},` +
		`"pods":[{"podRef":{"name":"two","namespace":"default","uid":"0f1a2b3c-0000-4000-8000-000000000001"},` +
		`"containers":[{"name":"a","rootfs":{}}],"volume":[{"name":"kube-api-access-x2v4z","usedBytes":1}],"x":[]}]}`
	got, err := Summary([]byte(text), names().Text)
	if err != nil {
		t.Fatal(err)
	}
	want := diff.Facts{
		"node.nodeName": "node", "node.cpu.time": "time", "node.cpu.usageNanoCores": "number",
		"pods[two].podRef.name": "two", "pods[two].podRef.namespace": "default", "pods[two].podRef.uid": "$UID(two)",
		"pods[two].containers[a].name": "a", "pods[two].containers[a].rootfs": "{}",
		"pods[two].volume[kube-api-access-$RANDOM].name":      "kube-api-access-$RANDOM",
		"pods[two].volume[kube-api-access-$RANDOM].usedBytes": "number",
		"pods[two].x": "[]",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("facts (-want +got):\n%s", d)
	}
	for _, bad := range []string{``, `{`, `{} {}`, `{"a":-1}`, `{"a":1e999}`} {
		if facts, err := Summary([]byte(bad), names().Text); err == nil {
			t.Errorf("%q: taken for %v", bad, facts)
		}
	}
}

// TestReviewed: every line of differences.txt can be read.
func TestReviewed(t *testing.T) {
	file, err := os.Open("differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	list, err := diff.ParseAccepted(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d lines", len(list))
}
