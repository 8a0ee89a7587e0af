package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/cgroups"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// machine returns a manager below a root of its own on the real cgroup file
// systems, and takes that root away afterwards.
func machine(t *testing.T) *Manager {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("cgroups need root")
	}
	root := fmt.Sprintf("/nodeagent-test-%d-%s", os.Getpid(), strings.ToLower(t.Name()))
	m, err := New(Config{Driver: Cgroupfs, Root: root, PerQOS: true, PodPidsLimit: 100}, zap.NewNop())
	if err != nil {
		t.Skipf("this machine has no cgroups: %v", err)
	}
	for _, dir := range m.host.dirs("/") {
		probe := filepath.Join(dir, root)
		if err := os.Mkdir(probe, 0o755); err != nil {
			t.Skipf("this machine does not let us make cgroups: %v", err)
		}
	}
	t.Cleanup(func() {
		for _, dir := range m.host.dirs(root) {
			if err := cgroups.RemovePath(dir); err != nil {
				t.Error(err)
			}
		}
	})
	return m
}

func testPod(uid types.UID, containers ...corev1.Container) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: uid}, Spec: corev1.PodSpec{Containers: containers}}
}

func (m *Manager) read(t *testing.T, controller, path, file string) string {
	t.Helper()
	mount := m.host.mounts[controller]
	if m.host.v2 {
		mount = m.host.mounts[""]
	}
	data, err := os.ReadFile(filepath.Join(mount, path, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// settings are the files that limits end up in, for the version at hand.
func (m *Manager) settings(t *testing.T, path string) map[string]string {
	t.Helper()
	if m.host.v2 {
		return map[string]string{
			"weight": m.read(t, "", path, "cpu.weight"), "quota": strings.Fields(m.read(t, "", path, "cpu.max"))[0],
			"memory": m.read(t, "", path, "memory.max"), "pids": m.read(t, "", path, "pids.max"),
		}
	}
	return map[string]string{
		"weight": m.read(t, "cpu", path, "cpu.shares"), "quota": m.read(t, "cpu", path, "cpu.cfs_quota_us"),
		"memory": m.read(t, "memory", path, "memory.limit_in_bytes"), "pids": m.read(t, "pids", path, "pids.max"),
	}
}

func TestEnsureAndRemove(t *testing.T) {
	m := machine(t)
	full := list("cpu", "500m", "memory", "64Mi")
	pods := []*corev1.Pod{
		testPod("g-1", needs(full, full)),
		testPod("b-1", needs(list("cpu", "1"), nil)),
		testPod("b-2", needs(list("cpu", "2"), nil)),
		testPod("e-1", corev1.Container{}),
	}
	var all sync.WaitGroup
	for _, p := range pods {
		all.Go(func() {
			for range 2 { // again is fine
				grant, err := m.Ensure(t.Context(), p)
				if err != nil || grant.CgroupParent != m.Parent(p) {
					t.Errorf("%s: %+v, %v", p.UID, grant, err)
				}
			}
		})
	}
	all.Wait()
	got := m.settings(t, m.Parent(pods[0]))
	want := map[string]string{"weight": "512", "quota": "50000", "memory": "67108864", "pids": "100"}
	burstable, least := "3072", "2"
	if m.host.v2 {
		want["weight"], burstable, least = "20", "118", "1"
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("guaranteed pod: %s = %s, want %s", k, got[k], v)
		}
	}
	if got := m.settings(t, m.pods.class(corev1.PodQOSBurstable).path(Cgroupfs))["weight"]; got != burstable {
		t.Errorf("burstable shares %s, want %s", got, burstable)
	}
	if got := m.settings(t, m.pods.class(corev1.PodQOSBestEffort).path(Cgroupfs))["weight"]; got != least {
		t.Errorf("best-effort shares %s, want %s", got, least)
	}
	uids, err := m.Pods()
	if err != nil || !slices.Equal(uids, []types.UID{"b-1", "b-2", "e-1", "g-1"}) {
		t.Errorf("pods %v, %v", uids, err)
	}

	if m.host.unified != "" { // a runtime was here
		for _, p := range pods {
			if err := os.MkdirAll(filepath.Join(m.host.unified, m.Parent(p), "container"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	again, err := New(m.cfg, zap.NewNop()) // an agent that knows nothing
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		for range 2 {
			if err := again.Remove(t.Context(), pod.Ref{UID: p.UID}); err != nil {
				t.Error(err)
			}
		}
		for _, dir := range m.host.dirs(m.Parent(p)) {
			if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", dir, err)
			}
		}
	}
	if uids, err := m.Pods(); err != nil || len(uids) != 0 {
		t.Errorf("pods %v, %v", uids, err)
	}
}

func TestRemoveKillsWhatIsLeft(t *testing.T) {
	m := machine(t)
	p := testPod("u-1", corev1.Container{})
	grant, err := m.Ensure(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	left := exec.CommandContext(context.WithoutCancel(t.Context()), "sleep", "1000")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = left.Process.Kill() }) // before the cgroups go
	died := make(chan struct{})
	go func() { _ = left.Wait(); close(died) }()
	for _, dir := range m.host.dirs(filepath.Join(grant.CgroupParent, "container")) {
		if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrNotExist) {
			continue // the device controller is left to the runtime
		} else if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // v1 wants these first
			if data, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file)); err == nil && !m.host.v2 {
				_ = os.WriteFile(filepath.Join(dir, file), data, 0)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, left.Process.Pid), 0); err != nil {
			t.Fatal(err)
		}
	}
	if !m.host.v2 { // a paused container cannot die before it is thawed
		freezer := filepath.Join(m.host.mounts["freezer"], grant.CgroupParent, "container", "freezer.state")
		if err := os.WriteFile(freezer, []byte("FROZEN"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Remove(t.Context(), pod.RefOf(p)); err != nil {
		t.Error(err)
	}
	select {
	case <-died:
	case <-time.After(10 * time.Second):
		t.Error("the process lives")
		_ = left.Process.Kill()
	}
}

func TestForbiddenIsSaidOnceAndNotFatal(t *testing.T) {
	m := machine(t)
	core, logged := observer.New(zap.WarnLevel)
	m.log = zap.New(core)
	m.host.controllers = slices.DeleteFunc(slices.Clone(m.host.controllers), func(c string) bool { return c == "pids" })
	for _, uid := range []types.UID{"u-1", "u-2"} {
		if _, err := m.Ensure(t.Context(), testPod(uid, corev1.Container{})); err != nil {
			t.Error(err)
		}
		if err := m.Remove(t.Context(), pod.Ref{UID: uid}); err != nil {
			t.Error(err)
		}
	}
	if logged.Len() != 1 || !strings.Contains(fmt.Sprint(logged.All()[0].ContextMap()), "pids") {
		t.Errorf("logged %v", logged.All())
	}
}

func TestWithoutPerQOS(t *testing.T) {
	m, err := New(Config{Driver: Systemd}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	p := testPod("../..", corev1.Container{})
	if grant, err := m.Ensure(t.Context(), p); err != nil || grant != (pod.Grant{}) || m.Parent(p) != "" {
		t.Errorf("%+v, %v", grant, err)
	}
	if err := m.Remove(t.Context(), pod.RefOf(p)); err != nil {
		t.Error(err)
	}
	if uids, err := m.Pods(); err != nil || uids != nil {
		t.Errorf("%v, %v", uids, err)
	}
}

func TestBadInput(t *testing.T) {
	for _, cfg := range []Config{{}, {Driver: "docker"}, {Driver: Cgroupfs, CPUPeriod: time.Hour}} {
		if _, err := New(cfg, zap.NewNop()); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	m := &Manager{cfg: Config{Driver: Cgroupfs, PerQOS: true}, pods: name{podsName}}
	var f *pod.Failure
	if _, err := m.Ensure(t.Context(), testPod("../x", corev1.Container{})); !errors.As(err, &f) || f.Reason != ReasonFailedCreate {
		t.Errorf("err = %v", err)
	}
	if err := m.Remove(t.Context(), pod.Ref{UID: "../x"}); err == nil {
		t.Error("a path as UID was accepted")
	}
}

func TestCheckV1(t *testing.T) {
	for _, c := range []struct{ unified, fail, bad bool }{{true, true, false}, {true, false, false}, {false, false, false}, {false, true, true}} {
		if err := checkV1(c.unified, c.fail); (err != nil) != c.bad {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
