package metrics

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// shape is what of a family must be the kubelet's.
type shape struct{ kind, labels string }

// recorded reads lists of families.
func recorded(t *testing.T, files ...string) map[string]shape {
	t.Helper()
	all := map[string]shape{}
	for _, name := range files {
		for _, line := range lines(t, name) {
			f := strings.Fields(line)
			if len(f) != 3 {
				t.Fatalf("%s: %q is not a name, a type and label keys", name, line)
			}
			all[f[0]] = shape{f[1], f[2]}
		}
	}
	return all
}

// lines reads a file of testdata without what is no content.
func lines(t *testing.T, name string) (all []string) {
	t.Helper()
	file, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		if line := strings.TrimSpace(s.Text()); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	return all
}

// gather returns the families of a gatherer.
func gather(t *testing.T, g prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*dto.MetricFamily{}
	for _, f := range families {
		all[f.GetName()] = f
	}
	return all
}

// shapeOf is the shape of a family; all its rows must have the same keys.
func shapeOf(t *testing.T, f *dto.MetricFamily) shape {
	t.Helper()
	s := shape{kind: strings.ToLower(f.GetType().String())}
	for i, m := range f.GetMetric() {
		var keys []string
		for _, l := range m.GetLabel() {
			keys = append(keys, l.GetName())
		}
		slices.Sort(keys)
		labels := strings.Join(keys, ",")
		if labels == "" {
			labels = "-"
		}
		if i > 0 && labels != s.labels {
			t.Errorf("%s: rows with labels %s and %s", f.GetName(), s.labels, labels)
		}
		s.labels = labels
	}
	return s
}

// newPod returns a pod with one container of each kind, volumes and resources.
func newPod(name string) *corev1.Pod {
	always, own, priority := corev1.ContainerRestartPolicyAlways, false, int32(5)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID("uid-" + name), Generation: 1, CreationTimestamp: metav1.Now()},
		Spec: corev1.PodSpec{
			Priority: &priority, HostUsers: &own,
			InitContainers:      []corev1.Container{{Name: "init"}, {Name: "side", RestartPolicy: &always}},
			Containers:          []corev1.Container{{Name: "c", Resources: resources("100m", "10Mi")}},
			EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}},
			Volumes:             []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		},
	}
}

func resources(cpu, memory string) corev1.ResourceRequirements {
	list := corev1.ResourceList{}
	for name, q := range map[corev1.ResourceName]string{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory} {
		if q != "" {
			list[name] = resource.MustParse(q)
		}
	}
	return corev1.ResourceRequirements{Requests: list}
}

func condition(kind corev1.PodConditionType, status corev1.ConditionStatus, reason string) corev1.PodCondition {
	return corev1.PodCondition{Type: kind, Status: status, Reason: reason, LastTransitionTime: metav1.NewTime(time.Now().Add(-time.Minute))}
}

func ended(name, id string, code int32, reason string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ContainerID: id, ExitCode: code, Reason: reason}}}
}

// newMetrics returns metrics that see the views.
func newMetrics(views ...*pod.View) *Metrics {
	return New(Config{
		NodeName: "n", Version: "v1.37.1+nodeagent.0.1", Started: time.Now(), Booted: time.Now().Add(-time.Hour), CgroupVersion: 1,
		Gates: func(yield func(string, string, bool)) { yield("Some", "BETA", true) },
		Views: func() []*pod.View { return views },
	})
}

// everything calls every hook.
func everything(t *testing.T) *Metrics {
	t.Helper()
	p := newPod("p")
	shown := &pod.View{Ref: pod.RefOf(p), Pod: p, Source: pod.SourceAPI, Stage: "Syncing", Phases: []pod.Phase{{Name: "volumes"}}}
	shown.Status.Conditions = []corev1.PodCondition{condition(corev1.PodResizePending, corev1.ConditionTrue, corev1.PodReasonDeferred)}
	m := newMetrics(shown)
	bad := errors.New("bad")

	m.Runtime.Call("exec_sync", time.Second, bad)
	m.Runtime.Sandbox("", time.Second, bad)
	m.Runtime.Relisted(time.Second)
	m.Runtime.RelistedAfter(time.Second)
	m.Runtime.Looked(time.Second)
	m.Runtime.Stream(nil)
	m.Runtime.Stream(bad)
	m.Runtime.Event(-time.Second)
	m.Runtime.Cgroup("create", time.Second)
	m.Runtime.LastSeen(time.Now)

	m.Pods.Desired([]pod.Spec{{Pod: p, Source: pod.SourceAPI}})
	m.Pods.Launched(p, "")
	m.Pods.Launched(p, "OutOfcpu")
	m.Pods.Launched(nil, "")
	m.Pods.Preempted(corev1.ResourceCPU)
	m.Pods.Operation(p, plan.CreateSandbox{}, time.Second, bad)
	m.Pods.Operation(p, plan.StartContainer{Container: &p.Spec.Containers[0], VolumeImages: map[string]pod.Image{"v": {}}}, time.Second, bad)
	m.Pods.Reported(&corev1.PodStatus{}, &corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{ended("c", "1", 3, "Error")}})
	m.Pods.Synced(time.Second)
	m.Pods.StatusSent(time.Second)

	m.Starts.Launched(p)
	run(m, p)

	bigger := p.DeepCopy()
	bigger.Generation = 2
	bigger.Spec.Containers[0].Resources = resources("200m", "")
	m.Resizes.Updated(p, bigger)
	m.Resizes.Operation(plan.Resize{}, time.Second, nil)
	waiting := &corev1.PodStatus{Conditions: shown.Status.Conditions}
	m.Resizes.Reported(p, waiting, &corev1.PodStatus{Conditions: []corev1.PodCondition{condition(corev1.PodResizeInProgress, corev1.ConditionTrue, "")}})
	m.Resizes.Reported(p, &corev1.PodStatus{}, &corev1.PodStatus{Conditions: []corev1.PodCondition{condition(corev1.PodResizePending, corev1.ConditionTrue, corev1.PodReasonInfeasible)}})

	yes := true
	m.Images.Ensured(corev1.PullAlways, nil, &yes)
	m.Images.Pulled(time.Second, 5<<20)
	m.Images.Checked("mustAuthenticate")
	m.Images.Provider("ecr", time.Second, true)
	m.Images.Providers("abc")
	m.Images.Records(func() (int, int) { return 1, 2 })

	m.Volumes.Types(func(*corev1.Volume) string { return "kubernetes.io/empty-dir" })
	m.Volumes.Operation("kubernetes.io/empty-dir", false, time.Second, nil)

	served := m.Server.Count("readwrite", http.NotFoundHandler())
	served.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/pods", nil))
	m.Server.Upgraded("exec")

	m.Node.Registering()
	m.Node.Registered()
	m.Node.Ready()
	m.Probes.Observe(p, "c", pod.ProbeLiveness, "successful", time.Second)
	if err := m.Register(Certificates(func() map[CertificateState]int { return map[CertificateState]int{{"s", "fresh"}: 1} })); err != nil {
		t.Fatal(err)
	}
	return m
}

// run lets a pod start.
func run(m *Metrics, p *corev1.Pod) {
	up := p.DeepCopy()
	up.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}}}
	now := corev1.PodStatus{Phase: corev1.PodRunning}
	m.Starts.Reported(pod.Spec{Pod: p}, &corev1.PodStatus{Phase: corev1.PodPending}, &now, time.Now())
	m.Starts.Reported(pod.Spec{Pod: up}, &now, &now, time.Now())
}

// TestFamiliesAreTheKubelets compares names, types and label keys with what was
// recorded of a kubelet.
func TestFamiliesAreTheKubelets(t *testing.T) {
	t.Parallel()
	m := everything(t)
	got := gather(t, m.Gatherer())
	want := recorded(t, "kubelet-v1.37.1-metrics.txt", "kubelet-v1.37.1-rare.txt")
	missing := map[string]string{}
	for _, line := range lines(t, "missing.txt") {
		name, why, ok := strings.Cut(line, ": ")
		if !ok || why == "" {
			t.Fatalf("missing.txt: %q has no reason", line)
		}
		missing[name] = why
	}
	for name, w := range want {
		f, there := got[name]
		switch {
		case !there && missing[name] == "" && !strings.HasPrefix(name, "go_"): // those are Go's to change
			t.Errorf("%s is not shown, and missing.txt does not say why", name)
		case there && missing[name] != "":
			t.Errorf("%s is shown: take it out of missing.txt", name)
		case there && shapeOf(t, f) != w:
			t.Errorf("%s is %v, the kubelet's is %v", name, shapeOf(t, f), w)
		}
	}
	for name := range missing {
		if _, is := want[name]; !is {
			t.Errorf("missing.txt has %s, which the kubelet does not show", name)
		}
	}
	for name, f := range got {
		if _, is := want[name]; !is && !strings.HasPrefix(name, "nodeagent_") && !strings.HasPrefix(name, "go_") {
			t.Errorf("the kubelet has no %s", name)
		}
		if f.GetHelp() == "" {
			t.Errorf("%s has no help text", name)
		}
	}
}

func TestProbeFamiliesAreTheKubelets(t *testing.T) {
	t.Parallel()
	got, want := gather(t, everything(t).probes), recorded(t, "kubelet-v1.37.1-probes.txt")
	for name, w := range want {
		if got[name] == nil || shapeOf(t, got[name]) != w {
			t.Errorf("%s is %v, the kubelet's is %v", name, got[name], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d families, want %d", len(got), len(want))
	}
}

// TestBuckets: quantiles of both agents can be compared only if these are equal.
func TestBuckets(t *testing.T) {
	t.Parallel()
	got := gather(t, everything(t).Gatherer())
	for name, want := range map[string]string{
		"kubelet_pod_start_sli_duration_seconds":      "0.5 1 2 3 4 5 6 8 10 20 30 45 60 120 180 240 300 360 480 600 900 1200 1800 2700 3600",
		"kubelet_runtime_operations_duration_seconds": "0.005 0.0125 0.03125",
		"kubelet_pleg_relist_duration_seconds":        "0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10",
		"kubelet_image_pull_duration_seconds":         "1 5 10 20 30 60 120 180 240 300 360 480 600 900 1200 1800 2700 3600",
		"storage_operation_duration_seconds":          "0.1 0.25 0.5 1 2.5 5 10 15 25 50 120 300 600",
		"kubelet_pod_status_sync_duration_seconds":    "0.01 0.05 0.1 0.5 1 5 10 20 30 45 60",
		"kubelet_containers_per_pod_count":            "1 2 4 8 16",
		"kubelet_pod_resize_duration_milliseconds":    "10 50 100 500 1000",
	} {
		var bounds []string
		for _, b := range got[name].GetMetric()[0].GetHistogram().GetBucket() {
			bounds = append(bounds, fmt.Sprintf("%g", b.GetUpperBound()))
		}
		if text := strings.Join(bounds, " "); !strings.HasPrefix(text, want) {
			t.Errorf("%s has buckets %s, want %s", name, text, want)
		}
	}
}

func TestRegisterRefusesDuplicates(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	if err := m.Register(prometheus.NewGauge(prometheus.GaugeOpts{Name: "kubelet_cgroup_version", Help: "x"})); err == nil {
		t.Error("a family was registered twice")
	}
}

// TestHandler: the answer is what Prometheus reads, also when a collector fails.
func TestHandler(t *testing.T) {
	t.Parallel()
	m := everything(t)
	if err := m.Register(failing{}); err != nil {
		t.Fatal(err)
	}
	for path, c := range map[string]struct {
		h    http.Handler
		want string
	}{
		"/metrics":        {m.Handler(), "# TYPE kubelet_running_pods gauge\nkubelet_running_pods 0\n"},
		"/metrics/probes": {m.ProbesHandler(), `prober_probe_total{container="c",namespace="shop",pod="p",pod_uid="uid-p",probe_type="Liveness",result="successful"} 1`},
	} {
		w := httptest.NewRecorder()
		c.h.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, path, nil))
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain; version=0.0.4") || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %v without %s", path, w.Code, w.Header(), c.want)
		}
	}
}

// failing is a collector that cannot collect.
type failing struct{}

func (failing) Describe(chan<- *prometheus.Desc) {}

func (failing) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(prometheus.NewDesc("broken", "x", nil, nil), errors.New("broken"))
}
