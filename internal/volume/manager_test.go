package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// fake is a plugin for every emptyDir whose calls can be made to hang or fail.
type fake struct {
	mount    func(ctx context.Context, r Request) error
	unmounts atomic.Int32
}

func (*fake) Name() string         { return "example.com/fake" }
func (*fake) Supports(s Spec) bool { return s.Volume.EmptyDir != nil }
func (f *fake) Unmount(ctx context.Context, r Ref) error {
	f.unmounts.Add(1)
	return r.Remove(ctx)
}

func (f *fake) Mount(ctx context.Context, r Request) (pod.Volume, error) {
	if f.mount != nil {
		if err := f.mount(ctx, r); err != nil {
			return pod.Volume{}, err
		}
	}
	return pod.Volume{HostPath: r.Ref.Dir()}, r.Ref.Make(0o755)
}

func newManager(t *testing.T, plugins ...Plugin) *Manager {
	t.Helper()
	m, err := New(Config{RootDir: t.TempDir()}, plugins, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func testPod(uid string, volumes ...corev1.Volume) *corev1.Pod {
	c := corev1.Container{Name: "c"}
	for _, v := range volumes {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v.Name})
	}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), Namespace: "ns", Name: "p"},
		Spec: corev1.PodSpec{Volumes: volumes, Containers: []corev1.Container{c}}}
}

func empty(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

func TestMountOfNothingMakesThePodDirectory(t *testing.T) {
	m := newManager(t)
	volumes, err := m.Mount(t.Context(), testPod("u"))
	if err != nil || volumes == nil || len(volumes) != 0 {
		t.Fatalf("volumes %v, err %v; want none, but not nil", volumes, err)
	}
	info, err := os.Stat(filepath.Join(m.root, "pods/u/volumes"))
	if err != nil || info.Mode().Perm() != 0o750 {
		t.Fatalf("%v, %v", info, err)
	}
	uids, err := m.Pods()
	if err != nil || !slices.Equal(uids, []types.UID{"u"}) {
		t.Errorf("pods = %v, %v", uids, err)
	}
}

func TestUnsupportedTypesAreNamed(t *testing.T) {
	m := newManager(t, &fake{})
	nfs := corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}}}
	none := corev1.Volume{Name: "odd"}
	unused := corev1.Volume{Name: "unused", VolumeSource: corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{}}}
	p := testPod("u", nfs, empty("ok"), none)
	p.Spec.Volumes = append(p.Spec.Volumes, unused)
	_, err := m.Mount(t.Context(), p)
	var f *pod.Failure
	if !errors.As(err, &f) || f.Reason != ReasonFailedMount {
		t.Fatalf("err = %v, want a FailedMount failure", err)
	}
	want := `MountVolume.SetUp failed for volume "data" : volume type nfs is not supported by this version of nodeagent; ` +
		`MountVolume.SetUp failed for volume "odd" : volume type (none given) is not supported by this version of nodeagent`
	if f.Message != want {
		t.Errorf("message\n%s\nwant\n%s", f.Message, want)
	}
}

func TestNamesFromOutsideAreNotPaths(t *testing.T) {
	m := newManager(t, &fake{})
	for _, uid := range []string{"", ".", "..", "a/b", "../x", "a\x00", ".hidden", strings.Repeat("a", 300)} {
		if _, err := m.Mount(t.Context(), testPod(uid)); err == nil {
			t.Errorf("mount: UID %q was accepted", uid)
		}
		if err := m.Unmount(t.Context(), pod.Ref{UID: types.UID(uid)}); err == nil {
			t.Errorf("unmount: UID %q was accepted", uid)
		}
	}
	for _, name := range []string{"..", "a/../../b", ""} {
		if _, err := m.Mount(t.Context(), testPod("u", empty(name))); err == nil {
			t.Errorf("volume name %q was accepted", name)
		}
	}
	for _, name := range []string{"ok", "pvc-1.2_3", "0f8fad5b-d9cb-469f-a165-70867728950e"} {
		if err := validName("name", name); err != nil {
			t.Error(err)
		}
	}
}

func TestHungMountHoldsUpItsOwnPodAlone(t *testing.T) {
	hang := make(chan struct{})
	plugin := &fake{mount: func(_ context.Context, r Request) error {
		if r.Ref.UID == "stuck" {
			<-hang // as a syscall: deaf to the context
		}
		return nil
	}}
	m := newManager(t, plugin)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := m.Mount(ctx, testPod("stuck", empty("v")))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "has not returned") {
		t.Fatalf("err = %v", err)
	}
	if _, err := m.Mount(t.Context(), testPod("other", empty("v"))); err != nil {
		t.Fatalf("another pod: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err = m.Unmount(ctx, pod.Ref{UID: "stuck"})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "an earlier mounting the volumes still runs") {
		t.Fatalf("err = %v", err)
	}
	close(hang)
	if err := m.Unmount(t.Context(), pod.Ref{UID: "stuck"}); err != nil {
		t.Fatal(err)
	}
	if plugin.unmounts.Load() != 1 {
		t.Errorf("plugin unmounted %d volumes, want 1", plugin.unmounts.Load())
	}
}

func TestTooManyJobsAreRefused(t *testing.T) {
	j := jobs{log: zap.NewNop(), ended: func() {}, busy: map[types.UID]*job{}}
	for i := range maxJobs {
		j.busy[types.UID(rune(i))] = &job{}
	}
	err := j.do(t.Context(), "one-more", "mounting", func(context.Context) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "refusing more") {
		t.Errorf("err = %v", err)
	}
}

func TestPanicOfAPluginIsItsOwn(t *testing.T) {
	m := newManager(t, &fake{mount: func(context.Context, Request) error { panic("bug") }})
	_, err := m.Mount(t.Context(), testPod("u", empty("v")))
	if err == nil || !strings.Contains(err.Error(), "panicked: bug") {
		t.Errorf("err = %v", err)
	}
	if err := m.Unmount(t.Context(), pod.Ref{UID: "u"}); err != nil {
		t.Errorf("the pod is still busy: %v", err)
	}
}

func TestVolumesOfUnknownPluginsGoToo(t *testing.T) {
	m := newManager(t)
	dir := filepath.Join(m.root, "pods/u/volumes/kubernetes.io~csi/pvc-1/mount")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := m.Unmount(t.Context(), pod.Ref{UID: "u"}); err != nil {
		t.Fatal(err)
	}
	if uids, err := m.Pods(); err != nil || len(uids) != 0 {
		t.Errorf("pods = %v, %v", uids, err)
	}
}

func TestFilesOfUnknownPluginsAreLeftAlone(t *testing.T) {
	m := newManager(t)
	dir := filepath.Join(m.root, "pods/u/volumes/example.com~store/pvc-1")
	file := filepath.Join(dir, "deep/precious")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, filepath.Join(dir, "vol_data.json")} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := m.Unmount(t.Context(), pod.Ref{UID: "u"})
	if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "example.com/store") {
		t.Errorf("err = %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := m.Unmount(t.Context(), pod.Ref{UID: "u"}); err != nil {
		t.Error(err)
	}
	if uids, err := m.Pods(); err != nil || len(uids) != 0 {
		t.Errorf("pods = %v, %v", uids, err)
	}
}
