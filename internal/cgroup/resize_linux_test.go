package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/cgroups"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// pretendMode lets the library write plain files.
func pretendMode(t *testing.T) {
	t.Helper()
	cgroups.TestMode = true
	t.Cleanup(func() { cgroups.TestMode = false })
}

func TestResizeOnThisMachine(t *testing.T) {
	m := machine(t)
	p := testPod("r-1", needs(list("cpu", "500m", "memory", "64Mi"), list("cpu", "1", "memory", "128Mi")))
	if m.Exists(p) {
		t.Error("it is there before it was made")
	}
	if _, err := m.Actual(p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("actual of nothing: %v", err)
	}
	if _, err := m.Ensure(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if !m.Exists(p) {
		t.Error("it is not there")
	}
	check := func(what string, got Limits, want Limits) {
		t.Helper()
		if !SharesAgree(want.CPUShares, got.CPUShares) {
			t.Errorf("%s: %d shares, want %d", what, got.CPUShares, want.CPUShares)
		}
		got.CPUShares = want.CPUShares
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	got, err := m.Actual(p)
	if err != nil {
		t.Fatal(err)
	}
	want := Limits{CPUShares: 512, CPUQuota: new(int64(100000)), CPUPeriod: 100000, Memory: new(int64(128 << 20))}
	check("as made", got, want)

	// More: limits before requests; then less: requests before limits.
	p = testPod("r-1", needs(list("cpu", "1", "memory", "64Mi"), list("cpu", "2", "memory", "256Mi")))
	for _, step := range []struct {
		part   pod.Limit
		expect func()
	}{
		{pod.LimitMemory, func() { want.Memory = new(int64(256 << 20)) }},
		{pod.LimitCPUQuota, func() { want.CPUQuota = new(int64(200000)) }},
		{pod.LimitCPUShares, func() { want.CPUShares = 1024 }},
	} {
		if way, err := m.Compare(p, step.part); err != nil || way != 1 {
			t.Errorf("part %d: %d, %v", step.part, way, err)
		}
		if err := m.Set(t.Context(), p, step.part); err != nil {
			t.Fatal(err)
		}
		if way, err := m.Compare(p, step.part); err != nil || way != 0 {
			t.Errorf("part %d is set: %d, %v", step.part, way, err)
		}
		got, err := m.Actual(p)
		if err != nil {
			t.Fatal(err)
		}
		step.expect()
		check("more", got, want)
	}
	class := Limits{}
	if err := m.readCPU(m.pods.class(corev1.PodQOSBurstable), &class); err != nil || !SharesAgree(1024, class.CPUShares) {
		t.Errorf("the class has %d shares, %v", class.CPUShares, err)
	}
	p = testPod("r-1", needs(list("cpu", "100m", "memory", "32Mi"), list("cpu", "200m", "memory", "32Mi")))
	if _, err := m.Ensure(t.Context(), p); err != nil { // does not lower memory
		t.Fatal(err)
	}
	want.CPUShares, want.CPUQuota = 102, new(int64(20000))
	if got, err = m.Actual(p); err != nil {
		t.Fatal(err)
	}
	check("ensured", got, want)
	want.Memory = new(int64(32 << 20))
	if got, err = m.Resize(t.Context(), p, m.Wanted(p)); err != nil {
		t.Fatal(err)
	}
	check("less", got, want)
	if err := m.Reduce(t.Context(), pod.RefOf(p)); err != nil {
		t.Fatal(err)
	}
	want.CPUShares = 2
	if got, err = m.Actual(p); err != nil {
		t.Fatal(err)
	}
	check("reduced", got, want)
	if _, err := m.Resize(t.Context(), testPod("r-2"), Limits{CPUShares: 2}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("resize of nothing: %v", err)
	}
	if err := m.Reduce(t.Context(), pod.Ref{UID: "r-2"}); err != nil {
		t.Error(err)
	}
}

// What the pod has written to its volumes in memory counts, so that a limit below
// it is refused.
func TestResizeBelowUsage(t *testing.T) {
	m := machine(t)
	p := testPod("u-1", needs(nil, list("memory", "64Mi")))
	grant, err := m.Ensure(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(m.host.mounts["memory"], grant.CgroupParent)
	if m.host.v2 {
		dir = filepath.Join(m.host.mounts[""], grant.CgroupParent)
	}
	file := filepath.Join(shm(t), "file")
	fill := exec.CommandContext(t.Context(), "sh", "-c", "echo $$ > "+dir+"/cgroup.procs && head -c 8388608 /dev/zero > "+file)
	if out, err := fill.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	usage, err := m.Usage(p)
	if err != nil || usage < 8<<20 {
		t.Fatalf("usage %d, %v", usage, err)
	}
	var below *BelowUsageError
	if _, err := m.Resize(t.Context(), p, Limits{Memory: new(int64(4 << 20))}); !errors.As(err, &below) || below.Limit != 4<<20 || below.Usage < 8<<20 {
		t.Errorf("err = %v", err)
	}
	if got, err := m.Actual(p); err != nil || *got.Memory != 64<<20 {
		t.Errorf("%+v, %v", got, err)
	}
	less := testPod("u-1", needs(nil, list("memory", "4Mi")))
	if err := m.MemoryShort(less); !errors.As(err, &below) {
		t.Errorf("err = %v", err)
	}
	if err := m.Set(t.Context(), less, pod.LimitMemory); !errors.As(err, &below) {
		t.Errorf("err = %v", err)
	}
	if err := m.MemoryShort(testPod("u-1", needs(nil, list("memory", "32Mi")))); err != nil {
		t.Error(err)
	}
	if err := m.MemoryShort(testPod("u-2", needs(nil, list("memory", "32Mi")))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
	if _, err := m.Resize(t.Context(), p, Limits{Memory: new(int64(32 << 20))}); err != nil {
		t.Error(err)
	}
}

func shm(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "nodeagent-test-") //nolint:usetesting // it has to be in memory
	if err != nil {
		t.Skipf("no memory to write files to: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestHalfACgroupIsNone(t *testing.T) {
	m := machine(t)
	if m.host.v2 {
		t.Skip("there is one hierarchy")
	}
	p := testPod("h-1", corev1.Container{})
	grant, err := m.Ensure(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(m.host.mounts["pids"], grant.CgroupParent)); err != nil {
		t.Fatal(err)
	}
	if m.Exists(p) {
		t.Error("half a cgroup counts as one")
	}
	if _, err := m.Ensure(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got := m.settings(t, grant.CgroupParent)["pids"]; !m.Exists(p) || got != "100" {
		t.Errorf("made again: pids %s", got)
	}
}

func TestResizeOnV2(t *testing.T) {
	m := fakeV2(t)
	m.cfg.MemoryThrottlingFactor = new(0.5)
	p := testPod("r", corev1.Container{})
	p.Spec.Resources = &corev1.ResourceRequirements{Requests: list("cpu", "1", "memory", "64Mi"), Limits: list("cpu", "2", "memory", "128Mi")}
	n := m.podName(corev1.PodQOSBurstable, "r")
	if m.Exists(p) {
		t.Error("it is there before it was made")
	}
	m.pretend(t, n, map[string]string{"memory.max": "max", "memory.current": "1000", "cpu.max": "max 100000", "cpu.weight": "100"})
	got, err := m.Actual(p)
	want := Limits{CPUShares: 2597, CPUQuota: new(Unlimited), CPUPeriod: 100000, Memory: new(Unlimited)}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if got, err = m.Resize(t.Context(), p, m.Wanted(p)); err != nil {
		t.Fatal(err)
	}
	m.expect(t, n, map[string]string{
		"cpu.weight": "39", "cpu.max": "200000 100000", "memory.max": "134217728", "memory.high": "100663296", "memory.swap.max": "", "pids.max": "100",
	})
	want = Limits{CPUShares: 998, CPUQuota: new(int64(200000)), CPUPeriod: 100000, Memory: new(int64(128 << 20))}
	if diff := cmp.Diff(want, got); diff != "" || !SharesAgree(1024, got.CPUShares) {
		t.Error(diff)
	}
	// No quota any more (cpuCFSQuota: false).
	m.cfg.NoCPUQuota = true
	if _, err := m.Resize(t.Context(), p, m.Wanted(p).Only(pod.LimitCPUQuota)); err != nil {
		t.Error(err)
	}
	m.expect(t, n, map[string]string{"cpu.max": "max 100000"})

	m.pretend(t, n, map[string]string{"memory.current": "134217728"})
	var below *BelowUsageError
	if _, err := m.Resize(t.Context(), p, Limits{Memory: new(int64(100 << 20))}); !errors.As(err, &below) {
		t.Errorf("err = %v", err)
	} else if err.Error() != "cannot decrease memory limits: attempting to set pod memory limit (104857600) below current usage (134217728)" {
		t.Errorf("not the kubelet's words: %v", err)
	}
	if usage, err := m.Usage(p); err != nil || usage != 128<<20 {
		t.Errorf("usage %d, %v", usage, err)
	}
	for _, text := range []string{"", "max", "x 100", "100 x", "1 2 3"} {
		m.pretend(t, n, map[string]string{"cpu.max": text})
		if got, err := m.Actual(p); err == nil {
			t.Errorf("cpu.max %q is read as %+v", text, got)
		}
	}
	m.pretend(t, n, map[string]string{"cgroup.controllers": "cpu memory"})
	if m.Exists(p) {
		t.Error("a cgroup without the controller of processes counts as whole")
	}
}

func TestWhatCannotBeSetIsAnErrorOfAResize(t *testing.T) {
	m := machine(t)
	p := testPod("e-1", needs(list("cpu", "1"), nil))
	if _, err := m.Ensure(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Resize(t.Context(), p, Limits{CPUQuota: new(int64(1000)), CPUPeriod: 5_000_000}); err == nil {
		t.Errorf("a period of five seconds is taken: %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Resize(ctx, p, Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestNothingToResizeWithoutPerQOS(t *testing.T) {
	m, err := New(Config{Driver: Systemd}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	p := testPod("u", corev1.Container{})
	got, err := m.Resize(t.Context(), p, Limits{CPUShares: 2})
	if err != nil || got.CPUShares != 0 || !m.Exists(p) {
		t.Errorf("%+v, %v", got, err)
	}
	if way, err := m.Compare(p, pod.LimitMemory); err != nil || way != 0 {
		t.Errorf("%d, %v", way, err)
	}
	if err := errors.Join(m.Settle(t.Context(), nil), m.Reduce(t.Context(), pod.RefOf(p)), m.MemoryShort(p), m.Set(t.Context(), p, pod.LimitMemory)); err != nil {
		t.Error(err)
	}
	if usage, err := m.Usage(p); err != nil || usage != 0 {
		t.Errorf("usage %d, %v", usage, err)
	}
}

// The empty v2 hierarchy beside v1 is enough to see the kernel end a cgroup.
func TestKillAtOnce(t *testing.T) {
	m := machine(t)
	if m.host.v2 {
		t.Skip("TestRemoveKillsWhatIsLeft does it")
	}
	if m.host.unified == "" {
		t.Skip("there is no cgroup v2 beside v1")
	}
	v2 := &Manager{cfg: m.cfg, pods: m.pods, log: m.log, host: host{v2: true, mounts: map[string]string{"": m.host.unified}}}
	n := v2.podName(corev1.PodQOSGuaranteed, "k-1")
	dir := filepath.Join(m.host.unified, n.path(Cgroupfs))
	if err := os.MkdirAll(filepath.Join(dir, "container"), 0o755); err != nil {
		t.Fatal(err)
	}
	left := exec.CommandContext(context.WithoutCancel(t.Context()), "sleep", "1000")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = left.Process.Kill() })
	died := make(chan struct{})
	go func() { _ = left.Wait(); close(died) }()
	if err := os.WriteFile(filepath.Join(dir, "container", "cgroup.procs"), fmt.Append(nil, left.Process.Pid), 0); err != nil {
		t.Fatal(err)
	}
	if !killAtOnce([]string{dir}) {
		t.Skip("this kernel cannot")
	}
	select {
	case <-died:
	case <-time.After(10 * time.Second):
		t.Fatal("the process lives")
	}
	if err := v2.remove(t.Context(), n); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}
