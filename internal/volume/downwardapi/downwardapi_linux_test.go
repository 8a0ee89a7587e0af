package downwardapi_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/downwardapi"
	"nodeagent.dev/nodeagent/internal/volume/volumetest"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
}

func source(items ...corev1.DownwardAPIVolumeFile) corev1.VolumeSource {
	return corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: items, DefaultMode: new(int32(0o644))}}
}

func file(path, fieldPath string) corev1.DownwardAPIVolumeFile {
	return corev1.DownwardAPIVolumeFile{Path: path, FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: fieldPath}}
}

func TestConformance(t *testing.T) {
	needRoot(t)
	volumetest.Run(t, downwardapi.New(downwardapi.Config{}), map[string]corev1.VolumeSource{
		"fields": source(file("name", "metadata.name"), file("dir/uid", "metadata.uid")),
		"empty":  source(),
	})
}

func TestLive(t *testing.T) {
	needRoot(t)
	volumetest.RunLive(t, volumetest.Live{
		New:    func() volume.Live { return downwardapi.New(downwardapi.Config{}) },
		Source: source(file("dir/label", "metadata.labels['l']")), File: "dir/label",
		Set: func(p *corev1.Pod, text string) { p.Labels = map[string]string{"l": text} },
	})
}

func TestLimitsOfTheNode(t *testing.T) {
	needRoot(t)
	memory := "1Gi"
	plugin := downwardapi.New(downwardapi.Config{Allocatable: func() corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
	}})
	p := volumetest.Pod("uid-1", corev1.Volume{Name: "v", VolumeSource: source(corev1.DownwardAPIVolumeFile{
		Path: "memory", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "main", Resource: "limits.memory", Divisor: resource.MustParse("1Mi")},
	})})
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := volumetest.Manager(t, root, plugin)
	defer func() {
		if err := m.Unmount(context.WithoutCancel(t.Context()), pod.RefOf(p)); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range [][2]string{{"1Gi", "1024"}, {"2Gi", "2048"}} {
		memory = c[0]
		volumes, err := m.Mount(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(filepath.Join(volumes["v"].HostPath, "memory")); string(data) != c[1] || err != nil {
			t.Errorf("%q, %v, want %q", data, err, c[1])
		}
		if !volumes["v"].ReadOnly {
			t.Error("containers can write to it")
		}
	}
}

func TestWhatCannotBeShown(t *testing.T) {
	needRoot(t)
	p := volumetest.Pod("uid-1", corev1.Volume{Name: "v", VolumeSource: source(file("a", "spec.nodeName"), file("b", "metadata.name"))})
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := volumetest.Manager(t, root, downwardapi.New(downwardapi.Config{}))
	_, err = m.Mount(t.Context(), p)
	if want := `MountVolume.SetUp failed for volume "v" : unsupported fieldPath: spec.nodeName`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if err := m.Unmount(t.Context(), pod.RefOf(p)); err != nil {
		t.Error(err)
	}
	if left := volumetest.Mounts(t, root); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
}
