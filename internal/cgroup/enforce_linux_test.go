package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// daemons makes a cgroup beside kubepods, as who starts the daemons would.
func (m *Manager) daemons(t *testing.T, n name) string {
	t.Helper()
	handle, err := m.handle(n)
	if err != nil {
		t.Fatal(err)
	}
	if err := handle.Apply(-1); err != nil {
		t.Fatal(err)
	}
	return n.path(Cgroupfs)
}

func TestEnforceOnThisMachine(t *testing.T) {
	m := machine(t)
	system := m.daemons(t, parseRoot(m.cfg.Root).child("system"))
	l := NodeLimits{
		Capacity: list("cpu", "4", "memory", "8Gi", "pid", "3000"), Enforce: []string{"pods", "system-reserved", "kube-reserved-compressible"},
		SystemReserved: list("cpu", "500m", "memory", "1Gi", "pid", "1000"), SystemReservedCgroup: system, KubeReservedCgroup: "/nodeagent-test-is-not-there",
		KubeReserved: list("cpu", "500m"),
	}
	steps, err := m.Enforce(t.Context(), l)
	if err == nil || len(steps) != 3 || steps[0].Err != nil || steps[1].Err != nil || !steps[2].Fatal || steps[2].Err == nil {
		t.Fatalf("%+v, %v", steps, err)
	}
	if !strings.Contains(err.Error(), "/nodeagent-test-is-not-there") || !strings.Contains(err.Error(), "kubeReservedCgroup") {
		t.Errorf("the error does not say what is wrong: %v", err)
	}
	pods, daemons := m.settings(t, m.pods.path(Cgroupfs)), m.settings(t, system)
	weights := []string{"3072", "512", "2"}
	if m.host.v2 {
		weights = []string{"118", "20", "1"}
	}
	for i, c := range []struct{ got, want string }{
		{pods["weight"], weights[0]},
		{pods["memory"], "7516192768"},
		{pods["pids"], "2000"},
		{daemons["weight"], weights[1]},
		{daemons["memory"], "1073741824"},
		{daemons["pids"], "1000"},
		{m.settings(t, m.pods.class(corev1.PodQOSBestEffort).path(Cgroupfs))["weight"], weights[2]},
		{m.settings(t, m.pods.class(corev1.PodQOSBurstable).path(Cgroupfs))["weight"], weights[2]},
	} {
		if c.got != c.want {
			t.Errorf("%d: %s, want %s", i, c.got, c.want)
		}
	}
	m.onAllCPUs(t)
	l.Enforce = []string{"none"}
	if steps, err := m.Enforce(t.Context(), l); err != nil || len(steps) != 1 {
		t.Errorf("%+v, %v", steps, err)
	}
	if got := m.settings(t, m.pods.path(Cgroupfs))["memory"]; got != "8589934592" {
		t.Errorf("not enforced: memory %s", got)
	}
}

// onAllCPUs checks that pods may run wherever the cgroup above may.
func (m *Manager) onAllCPUs(t *testing.T) {
	t.Helper()
	if !m.host.has("cpuset") {
		t.Log("this machine has no cpuset controller")
		return
	}
	file := "cpuset.cpus"
	if m.host.v2 {
		file = "cpuset.cpus.effective"
	}
	want, err := m.file(parseRoot(m.cfg.Root), "cpuset", file)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.file(m.pods, "cpuset", "cpuset.cpus"); err != nil || got != want {
		t.Errorf("pods may run on CPUs %q, %v; the cgroup above on %q", got, err, want)
	}
}

// A limit below what is in use is not set, as the kernel would kill for it.
func TestEnforceWaitsForEvictions(t *testing.T) {
	m := fakeV2(t)
	m.pretend(t, m.pods, map[string]string{"memory.current": "4096000", "memory.max": "max"})
	steps, err := m.Enforce(t.Context(), NodeLimits{Capacity: list("memory", "4000000", "cpu", "1")})
	if err == nil || len(steps) != 1 || steps[0].Fatal || !strings.Contains(err.Error(), "4096000") {
		t.Errorf("%+v, %v", steps, err)
	}
	if got := m.told(t, m.pods, "memory.max"); got != "max" {
		t.Errorf("memory.max = %q", got)
	}
	m.pretend(t, m.pods, map[string]string{"memory.current": "3000000"})
	if _, err := m.Enforce(t.Context(), NodeLimits{Capacity: list("memory", "4000000", "cpu", "1")}); err != nil {
		t.Error(err)
	}
	if got := m.told(t, m.pods, "memory.max"); got != "4000000" {
		t.Errorf("memory.max = %q", got)
	}
}

func TestEnforceOnV2(t *testing.T) {
	m := fakeV2(t)
	kube := parseRoot("/kube")
	m.pretend(t, kube, nil)
	m.pretend(t, name{}, map[string]string{"cpuset.cpus.effective": "0-7"})
	l := NodeLimits{
		Capacity: list("cpu", "4", "memory", "8Gi", "pid", "3000", "hugepages-2Mi", "4Mi"), Enforce: []string{"pods", "kube-reserved"},
		KubeReserved: list("cpu", "1", "memory", "1Gi"), KubeReservedCgroup: "/kube", CPUs: "0-3",
	}
	if steps, err := m.Enforce(t.Context(), l); err != nil || len(steps) != 2 {
		t.Fatalf("%+v, %v", steps, err)
	}
	m.expect(t, m.pods, map[string]string{
		"cpu.weight": "118", "memory.max": "7516192768", "pids.max": "3000", "cpuset.cpus": "0-3", "hugetlb.2MB.max": "4611686018427387904",
		"memory.min": "0", "memory.low": "0", // an agent before may have left some
	})
	m.expect(t, m.pods.class(corev1.PodQOSBurstable), map[string]string{"cpu.weight": "1", "memory.low": "0", "hugetlb.2MB.max": "4611686018427387904"})
	m.expect(t, m.pods.class(corev1.PodQOSBestEffort), map[string]string{"cpu.weight": "1", "hugetlb.2MB.max": "4611686018427387904"})
	m.expect(t, kube, map[string]string{"cpu.weight": "39", "memory.max": "1073741824", "memory.min": "1073741824", "hugetlb.2MB.max": "0"})
	for _, file := range []string{"memory.low", "memory.min"} {
		if got := m.told(t, m.pods.class(corev1.PodQOSBestEffort), file); got != "" {
			t.Errorf("besteffort: %s = %s", file, got)
		}
	}
	l.CPUs = "" // nobody chose: all that there are
	if _, err := m.Enforce(t.Context(), l); err != nil {
		t.Error(err)
	}
	m.expect(t, m.pods, map[string]string{"cpuset.cpus": "0-7"})
}

func TestReservedCgroupIsNotNamed(t *testing.T) {
	m := fakeV2(t)
	steps, err := m.Enforce(t.Context(), NodeLimits{Enforce: []string{"system-reserved"}})
	if err == nil || len(steps) != 2 || !steps[1].Fatal || !strings.Contains(err.Error(), "systemReservedCgroup is not set") {
		t.Errorf("%+v, %v", steps, err)
	}
}

// An agent that starts again counts the pods it finds: its first pod must not
// take the others' CPU away.
func TestClassesAfterARestart(t *testing.T) {
	m := machine(t)
	burstable := m.pods.class(corev1.PodQOSBurstable).path(Cgroupfs)
	pods := []*corev1.Pod{testPod("b-1", needs(list("cpu", "1"), nil)), testPod("b-2", needs(list("cpu", "2"), nil))}
	for _, p := range pods {
		if _, err := m.Ensure(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	again, err := New(m.cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	third := testPod("b-3", needs(list("cpu", "3"), nil))
	if _, err := again.Ensure(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	check := func(what string, want uint64) {
		t.Helper()
		l := Limits{}
		if err := again.readCPU(again.pods.class(corev1.PodQOSBurstable), &l); err != nil {
			t.Fatal(err)
		}
		if want == 0 {
			want = minShares
		}
		// On cgroup v2 the weights of the others are read, which are coarse.
		if diff := int64(l.CPUShares) - int64(want); diff > 100 || diff < -100 || !again.host.v2 && diff != 0 {
			t.Errorf("%s: burstable has %d shares, want %d (%s)", what, l.CPUShares, want, burstable)
		}
	}
	check("after the first pod", 6*1024)
	if err := again.Remove(t.Context(), pod.RefOf(pods[1])); err != nil {
		t.Fatal(err)
	}
	check("after a pod went", 4*1024)

	// Somebody changes it behind our back, and a pod's cgroup goes without us.
	if err := again.set(again.pods.class(corev1.PodQOSBurstable), Limits{CPUShares: 2}); err != nil {
		t.Fatal(err)
	}
	if err := again.remove(t.Context(), again.podName(corev1.PodQOSBurstable, "b-1")); err != nil {
		t.Fatal(err)
	}
	if err := again.Settle(t.Context(), []*corev1.Pod{third}); err != nil {
		t.Fatal(err)
	}
	check("settled", 3*1024)
	if err := again.set(again.pods.class(corev1.PodQOSBurstable), Limits{CPUShares: 2}); err != nil {
		t.Fatal(err)
	}
	if err := again.Settle(t.Context(), []*corev1.Pod{third}); err != nil {
		t.Fatal(err)
	}
	check("settled with the same pods", 3*1024)
}

func TestTieredReservation(t *testing.T) {
	m := fakeV2(t)
	m.cfg.TieredReservation = true
	burstable, best := m.pods.class(corev1.PodQOSBurstable), m.pods.class(corev1.PodQOSBestEffort)
	full := list("cpu", "500m", "memory", "64Mi")
	g, b := testPod("g", needs(full, full)), testPod("b", needs(list("cpu", "1", "memory", "10Mi"), nil))
	for _, p := range []*corev1.Pod{g, b} {
		m.pretend(t, m.podName(pod.QOS(p), p.UID), map[string]string{"memory.max": "max", "memory.current": "0"})
		if _, err := m.Ensure(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	m.expect(t, m.podName(corev1.PodQOSGuaranteed, "g"), map[string]string{
		"memory.min": "67108864", "memory.max": "67108864", "cpu.max": "50000 100000", "cpu.weight": "20", "pids.max": "100", "hugetlb.2MB.max": "0",
	})
	m.expect(t, m.podName(corev1.PodQOSBurstable, "b"), map[string]string{"memory.low": "10485760", "memory.max": "max", "cpu.weight": "39"})
	m.expect(t, m.pods, map[string]string{"memory.min": "77594624", "memory.low": "10485760"})
	m.expect(t, burstable, map[string]string{"memory.low": "10485760", "cpu.weight": "39"})
	m.expect(t, best, map[string]string{"cpu.weight": "1"})

	// One that starts again reads what is protected from the pods it finds.
	again := fakeV2On(m.host.mounts[""])
	again.cfg.TieredReservation = true
	other := testPod("b2", needs(list("memory", "1Mi"), nil))
	again.pretend(t, again.podName(corev1.PodQOSBurstable, "b2"), nil)
	if _, err := again.Ensure(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	again.expect(t, m.pods, map[string]string{"memory.min": "78643200", "memory.low": "11534336"})
}

// fakeV2 is a machine with cgroup v2 that is made of plain files.
func fakeV2(t *testing.T) *Manager {
	t.Helper()
	pretendMode(t)
	m := fakeV2On(t.TempDir())
	for _, class := range classes() {
		m.pretend(t, m.pods.class(class), map[string]string{"memory.max": "max", "memory.current": "0"})
	}
	return m
}

func fakeV2On(dir string) *Manager {
	return &Manager{
		cfg: Config{Driver: Cgroupfs, PerQOS: true, PodPidsLimit: 100}, pods: name{podsName}, log: zap.NewNop(),
		host: host{
			v2: true, mounts: map[string]string{"": dir}, pageSizes: []string{"2MB"},
			controllers: []string{"cpu", "cpuset", "hugetlb", "memory", "pids"},
		},
		warned: map[string]bool{}, asks: map[types.UID]ask{},
		classes: map[corev1.PodQOSClass]*classState{corev1.PodQOSGuaranteed: {}, corev1.PodQOSBurstable: {}, corev1.PodQOSBestEffort: {}},
	}
}

// pretend makes a cgroup with some files.
func (m *Manager) pretend(t *testing.T, n name, files map[string]string) {
	t.Helper()
	dir := filepath.Join(m.host.mounts[""], n.path(Cgroupfs))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"cgroup.controllers": strings.Join(m.host.controllers, " ") + "\n"}
	for file, text := range files {
		all[file] = text + "\n"
	}
	for file, text := range all {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// told is what is in a file of a cgroup; empty when nobody wrote it.
func (m *Manager) told(t *testing.T, n name, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.host.mounts[""], n.path(Cgroupfs), file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func (m *Manager) expect(t *testing.T, n name, files map[string]string) {
	t.Helper()
	for file, want := range files {
		if got := m.told(t, n, file); got != want {
			t.Errorf("%s of %s = %q, want %q", file, strings.Join(slices.Clone(n), "/"), got, want)
		}
	}
}
