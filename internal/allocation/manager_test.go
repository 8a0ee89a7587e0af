package allocation_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/admission"
	"nodeagent.dev/nodeagent/internal/allocation"
	"nodeagent.dev/nodeagent/internal/pod"
)

// open returns a manager for a node with one CPU and ten pods.
func open(t *testing.T, dir string, change ...func(*allocation.Config)) *allocation.Manager {
	t.Helper()
	rules, err := admission.New(admission.Config{Version: "v1.37.1", Features: admission.DefaultFeatures()})
	if err != nil {
		t.Fatal(err)
	}
	cfg := allocation.Config{RootDir: dir, Rules: rules, Node: func() (admission.Node, bool) {
		return admission.Node{Name: "n", Allocatable: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourcePods: resource.MustParse("10"), corev1.ResourceMemory: resource.MustParse("1Gi"),
		}}, true
	}}
	for _, f := range change {
		f(&cfg)
	}
	m, err := allocation.New(cfg, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// sized is a pod that asks for CPU, in thousandths.
func sized(uid string, milliCPU, generation int64) pod.Spec {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), Name: uid, Namespace: "ns", Generation: generation}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(milliCPU, resource.DecimalSI)},
	}}}
	return pod.Spec{Pod: p, Source: pod.SourceAPI}
}

func cpu(a pod.Admission) int64 {
	return a.Pod.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
}

func TestAdmission(t *testing.T) {
	m := open(t, t.TempDir())
	a := m.Admit(sized("a", 700, 1), nil)
	if a.Pod == nil || cpu(a) != 700 {
		t.Fatalf("an empty node: %+v", a)
	}
	b := m.Admit(sized("b", 400, 1), []*corev1.Pod{a.Pod})
	if b.Pod != nil || b.Reason != "OutOfcpu" || b.Message != "Pod was rejected: Node didn't have enough resource: cpu, requested: 400, used: 700, capacity: 1000" ||
		b.Event != strings.TrimPrefix(b.Message, "Pod was rejected: ") {
		t.Errorf("a full node: %+v", b)
	}
}

func TestNothingIsDecidedBeforeTheNodeIsKnown(t *testing.T) {
	m := open(t, t.TempDir(), func(c *allocation.Config) {
		known := c.Node
		c.Node = func() (admission.Node, bool) { n, _ := known(); return n, false }
	})
	if a := m.Admit(sized("a", 100, 1), nil); !a.Later || a.Pod != nil {
		t.Errorf("a pod of the API server: %+v", a)
	}
	static := sized("s", 100, 1)
	static.Source = pod.SourceFile
	if a := m.Admit(static, nil); a.Pod == nil {
		t.Errorf("a static pod, which the API server may depend on: %+v", a)
	}
}

func beside(others ...*corev1.Pod) func() []*corev1.Pod {
	return func() []*corev1.Pod { return others }
}

func TestResize(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	other := m.Admit(sized("other", 500, 1), nil).Pod
	m.Admit(sized("a", 200, 1), []*corev1.Pod{other})

	deferred := m.Resize(sized("a", 600, 2), pod.Resize{}, beside(other))
	if p := deferred.Resize.Pending; p == nil || p.Reason != corev1.PodReasonDeferred || p.Generation != 2 || cpu(deferred) != 200 ||
		p.Message != "Node didn't have enough resource: cpu, requested: 600, used: 500, capacity: 1000" {
		t.Errorf("without room: %+v, %+v", deferred, deferred.Resize.Pending)
	}
	// An agent that takes over knows what was allocated, whatever the spec asks.
	m.Close()
	next := open(t, dir)
	taken := next.Admit(sized("a", 600, 2), []*corev1.Pod{other})
	if taken.Pod == nil || cpu(taken) != 200 {
		t.Fatalf("after a restart: %+v", taken)
	}
	done := next.Resize(sized("a", 600, 2), pod.Resize{}, beside())
	if done.Resize.Pending != nil || done.Resize.Generation != 2 || cpu(done) != 600 {
		t.Errorf("with room: %+v", done)
	}
	same := next.Resize(sized("a", 600, 3), done.Resize, beside())
	if same.Resize.Pending != nil || same.Resize.Generation != 2 {
		t.Errorf("nothing new: %+v", same)
	}
	// What was allocated is on the disk at once: a kill loses nothing.
	if killed := open(t, dir).Admit(sized("a", 900, 4), nil); cpu(killed) != 600 {
		t.Errorf("after a kill: %d", cpu(killed))
	}
}

func TestInfeasible(t *testing.T) {
	m := open(t, t.TempDir(), func(c *allocation.Config) {
		c.Infeasible = func(wanted, _ *corev1.Pod) string { return "never on " + wanted.Namespace }
	})
	m.Admit(sized("a", 200, 1), nil)
	if p := m.Resize(sized("a", 300, 2), pod.Resize{}, beside()).Resize.Pending; p == nil || p.Reason != corev1.PodReasonInfeasible || p.Message != "never on ns" {
		t.Errorf("got %+v", p)
	}
}

func TestActuated(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	given := pod.Actuation{}.With("c", sized("a", 300, 1).Pod.Spec.Containers[0].Resources)
	m.SetActuated("a", given, true)
	m.SetActuated("b", given, false)
	m.Retain(func(uid types.UID) bool { return uid == "a" })
	m.Close()
	next := open(t, dir)
	a, b := next.Actuated("a").Containers["c"], next.Actuated("b").Containers
	if a.Requests.Cpu().MilliValue() != 300 || b != nil {
		t.Errorf("read back %v and %v", a, b)
	}
	next.Forget("a")
	next.Close()
	if left := open(t, dir).Actuated("a").Containers; left != nil {
		t.Errorf("forgotten, but there is %v", left)
	}
}

// A file that is damaged may have said that a resize is under way: guessing would
// change what pods may use.
func TestDamagedFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "allocated_pods_state"), []byte(`{"data":"{}","checksum":7}`), 0o600); err != nil {
		t.Fatal(err)
	}
	rules, err := admission.New(admission.Config{Version: "v1.37.1"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = allocation.New(allocation.Config{RootDir: dir, Rules: rules, Node: func() (admission.Node, bool) { return admission.Node{}, true }}, zaptest.NewLogger(t))
	if err == nil || !strings.Contains(err.Error(), "drain this node and delete the file") || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
}

// The names in the file are the kubelet's.
func TestFormat(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	m.Admit(sized("a", 200, 1), nil)
	m.Close()
	raw, err := os.ReadFile(filepath.Join(dir, "allocated_pods_state"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Data string }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	want := `{"entries":{"a":{"ContainerResources":{"c":{"requests":{"cpu":"200m"}}},"PodLevelResources":null,"EmptyDirVolumeLimits":null}}}`
	if file.Data != want {
		t.Errorf("got  %s\nwant %s", file.Data, want)
	}
	if info, err := os.Stat(filepath.Join(dir, "allocated_pods_state")); err != nil || fmt.Sprint(info.Mode()) != "-rw-------" {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
}
