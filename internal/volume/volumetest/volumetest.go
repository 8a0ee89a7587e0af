package volumetest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
)

// Pod returns a pod with one container that mounts all the volumes.
func Pod(uid string, volumes ...corev1.Volume) *corev1.Pod {
	container := corev1.Container{Name: "main"}
	for i := range volumes {
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: volumes[i].Name, MountPath: "/" + volumes[i].Name})
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: types.UID(uid)},
		Spec:       corev1.PodSpec{Volumes: volumes, Containers: []corev1.Container{container}},
	}
}

// Run checks a plugin with each of the named sources. They must be fit to be
// mounted many times. It needs the rights to mount.
func Run(t *testing.T, plugin volume.Plugin, sources map[string]corev1.VolumeSource) {
	t.Helper()
	t.Run("name", func(t *testing.T) {
		if name := plugin.Name(); strings.Count(name, "/") != 1 || strings.Contains(name, "~") {
			t.Errorf("%q is not a qualified name", name)
		}
		if plugin.Supports(volume.Spec{Volume: &corev1.Volume{Name: "x"}}) {
			t.Error("supports a volume without a source")
		}
	})
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			s := suite{plugin: plugin, volume: corev1.Volume{Name: "vol", VolumeSource: source}}
			t.Run("mount is idempotent", s.mountTwice)
			t.Run("content survives a second mount", s.contentSurvives)
			t.Run("unmount leaves nothing", s.unmountLeavesNothing)
			t.Run("unmount needs no spec", s.unmountAfterRestart)
			t.Run("pods are apart", s.podsAreApart)
		})
	}
}

type suite struct {
	plugin volume.Plugin
	volume corev1.Volume
}

// manager returns a manager below a directory of its own, and that directory.
func (s *suite) manager(t *testing.T) (*volume.Manager, string) {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return Manager(t, root, s.plugin), root
}

// Manager returns a manager over a root directory, for tests of types.
func Manager(t *testing.T, root string, plugins ...volume.Plugin) *volume.Manager {
	t.Helper()
	m, err := volume.New(volume.Config{RootDir: root}, plugins, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (s *suite) mount(t *testing.T, m *volume.Manager, uid string) pod.Volume {
	t.Helper()
	p := Pod(uid, s.volume)
	volumes, err := m.Mount(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	v, ok := volumes[s.volume.Name]
	if !ok || len(volumes) != 1 {
		t.Fatalf("volumes = %v, want just %q", volumes, s.volume.Name)
	}
	if !filepath.IsAbs(v.HostPath) {
		t.Fatalf("path %q is not absolute", v.HostPath)
	}
	t.Cleanup(func() { // for tests that fail half-way
		if err := m.Unmount(context.WithoutCancel(t.Context()), pod.RefOf(p)); err != nil {
			t.Error(err)
		}
	})
	return v
}

func unmount(t *testing.T, m *volume.Manager, uid string) {
	t.Helper()
	if err := m.Unmount(t.Context(), pod.Ref{UID: types.UID(uid)}); err != nil {
		t.Fatal(err)
	}
}

func (s *suite) mountTwice(t *testing.T) {
	m, root := s.manager(t)
	first := s.mount(t, m, "uid-1")
	before := Mounts(t, root)
	if second := s.mount(t, m, "uid-1"); second != first {
		t.Errorf("second mount says %+v, the first %+v", second, first)
	}
	if after := Mounts(t, root); len(after) != len(before) {
		t.Errorf("mounts after the second call: %v, before: %v", after, before)
	}
	unmount(t, m, "uid-1")
}

func (s *suite) contentSurvives(t *testing.T) {
	m, _ := s.manager(t)
	v := s.mount(t, m, "uid-1")
	if info, err := os.Stat(v.HostPath); err != nil || !info.IsDir() || v.ReadOnly {
		t.Skip("not a directory one can write to")
	}
	file := filepath.Join(v.HostPath, "written-by-a-container")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.mount(t, m, "uid-1")
	if _, err := os.Stat(file); err != nil {
		t.Errorf("after a second mount: %v", err)
	}
	unmount(t, m, "uid-1")
	_ = os.Remove(file) // a hostPath keeps it, rightly
}

func (s *suite) unmountLeavesNothing(t *testing.T) {
	m, root := s.manager(t)
	s.mount(t, m, "uid-1")
	unmount(t, m, "uid-1")
	if left := Mounts(t, root); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
	if _, err := os.Lstat(filepath.Join(root, "pods", "uid-1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pod's directory: %v, want it gone", err)
	}
	unmount(t, m, "uid-1") // already gone is a success
}

func (s *suite) unmountAfterRestart(t *testing.T) {
	m, root := s.manager(t)
	s.mount(t, m, "uid-1")
	again := Manager(t, root, s.plugin)
	unmount(t, again, "uid-1")
	if left := Mounts(t, root); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
}

func (s *suite) podsAreApart(t *testing.T) {
	m, _ := s.manager(t)
	s.mount(t, m, "uid-1")
	kept := s.mount(t, m, "uid-2")
	unmount(t, m, "uid-1")
	if _, err := os.Stat(kept.HostPath); err != nil {
		t.Errorf("the other pod's volume: %v", err)
	}
	unmount(t, m, "uid-2")
}

// Mounts lists what is mounted below a directory.
func Mounts(t *testing.T, root string) []string {
	t.Helper()
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(root))
	if err != nil {
		t.Fatal(err)
	}
	var points []string
	for _, info := range infos {
		points = append(points, info.Mountpoint)
	}
	return points
}
