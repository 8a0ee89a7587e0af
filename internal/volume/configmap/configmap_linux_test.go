package configmap_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/configmap"
	"nodeagent.dev/nodeagent/internal/volume/volumetest"
)

// store has the ConfigMaps of the namespace default.
type store struct {
	mu    sync.Mutex
	maps  map[string]*corev1.ConfigMap
	fails error
}

// ConfigMap implements configmap.Objects.
func (s *store) ConfigMap(_ context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return nil, s.fails
	}
	if cm := s.maps[name]; cm != nil && namespace == "default" {
		return cm, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("configmap"), name)
}

func (s *store) set(name string, data map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = nil
	if s.maps == nil {
		s.maps = map[string]*corev1.ConfigMap{}
	}
	s.maps[name] = &corev1.ConfigMap{Data: maps.Clone(data), BinaryData: map[string][]byte{"bin": {0, 1}}}
}

func source(name string, items ...corev1.KeyToPath) *corev1.ConfigMapVolumeSource {
	return &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items, DefaultMode: new(int32(0o644)),
	}
}

func of(s *corev1.ConfigMapVolumeSource) corev1.VolumeSource {
	return corev1.VolumeSource{ConfigMap: s}
}

func optional(s *corev1.ConfigMapVolumeSource) *corev1.ConfigMapVolumeSource {
	s.Optional = new(true)
	return s
}

func TestConformance(t *testing.T) {
	objects := &store{}
	objects.set("cm", map[string]string{"a": "1", "b": "2"})
	volumetest.Run(t, configmap.New(objects), map[string]corev1.VolumeSource{
		"all keys": of(source("cm")),
		"items":    of(source("cm", corev1.KeyToPath{Key: "a", Path: "x/y/z"})),
		"optional": of(optional(source("none"))),
	})
}

func TestLive(t *testing.T) {
	objects := &store{}
	volumetest.RunLive(t, volumetest.Live{
		New:    func() volume.Live { return configmap.New(objects) },
		Source: of(source("cm", corev1.KeyToPath{Key: "key", Path: "dir/file"})), File: "dir/file",
		Set:   func(_ *corev1.Pod, text string) { objects.set("cm", map[string]string{"key": text}) },
		Break: func(*corev1.Pod) { objects.set("cm", map[string]string{"other": ""}) },
	})
}

// mount mounts the volume v and returns its files as "name=content", or the error.
func mount(t *testing.T, root string, objects configmap.Objects, source *corev1.ConfigMapVolumeSource) (files []string, volumes pod.Volumes, err error) {
	t.Helper()
	p := volumetest.Pod("uid-1", corev1.Volume{Name: "v", VolumeSource: of(source)})
	volumes, err = volumetest.Manager(t, root, configmap.New(objects)).Mount(t.Context(), p)
	if err != nil {
		return nil, nil, err
	}
	dir := volumes["v"].HostPath
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "..") {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			files = append(files, e.Name()+"="+string(data))
			if err != nil {
				t.Error(err)
			}
		}
	}
	return files, volumes, err
}

func TestOptional(t *testing.T) {
	objects := &store{}
	objects.set("cm", map[string]string{"a": "1"})
	for name, c := range map[string]struct {
		source *corev1.ConfigMapVolumeSource
		want   []string
		fails  string
	}{
		"there":                      {source: source("cm"), want: []string{"a=1", "bin=\x00\x01"}},
		"missing":                    {source: source("none"), fails: `MountVolume.SetUp failed for volume "v" : configmap "none" not found`},
		"missing, optional":          {source: optional(source("none"))},
		"missing with items":         {source: optional(source("none", corev1.KeyToPath{Key: "a", Path: "b"}))},
		"key missing":                {source: source("cm", corev1.KeyToPath{Key: "K", Path: "b"}), fails: `MountVolume.SetUp failed for volume "v" : configmap references non-existent config key: K`},
		"key missing, optional":      {source: optional(source("cm", corev1.KeyToPath{Key: "K", Path: "b"}, corev1.KeyToPath{Key: "a", Path: "c"})), want: []string{"c=1"}},
		"a path out of the volume":   {source: source("cm", corev1.KeyToPath{Key: "a", Path: "../../b"}), fails: `MountVolume.SetUp failed for volume "v" : invalid path: must not contain '..': ../../b`},
		"a path of the volume's own": {source: optional(source("cm", corev1.KeyToPath{Key: "a", Path: "..data"})), fails: `MountVolume.SetUp failed for volume "v" : invalid path: must not start with '..': ..data`},
	} {
		t.Run(name, func(t *testing.T) {
			files, _, err := mount(t, t.TempDir(), objects, c.source)
			said := ""
			if err != nil {
				said = err.Error()
			}
			if !slices.Equal(files, c.want) || !strings.Contains(said, c.fails) || (c.fails == "") != (said == "") {
				t.Errorf("%q, %q; want %q, %q", files, said, c.want, c.fails)
			}
		})
	}
}

// TestOptionalIsForWhatIsMissingOnly: what cannot be asked for is not known to be
// missing.
func TestOptionalIsForWhatIsMissingOnly(t *testing.T) {
	objects := &store{fails: errors.New("no answer")}
	if files, _, err := mount(t, t.TempDir(), objects, optional(source("cm"))); err == nil {
		t.Errorf("mounted with %v", files)
	}
}

// TestOptionalComesAndGoes: a ConfigMap may be made, and deleted, under a running pod.
func TestOptionalComesAndGoes(t *testing.T) {
	root, objects := t.TempDir(), &store{}
	for _, want := range [][]string{nil, {"a=1", "bin=\x00\x01"}, nil} {
		objects.maps = nil
		if want != nil {
			objects.set("cm", map[string]string{"a": "1"})
		}
		if files, _, err := mount(t, root, objects, optional(source("cm"))); !slices.Equal(files, want) || err != nil {
			t.Errorf("%q, %v; want %q", files, err, want)
		}
	}
}

// TestPlace is for what a kubelet that takes over looks at.
func TestPlace(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	root, objects := t.TempDir(), &store{}
	objects.set("cm", map[string]string{"a": "1"})
	_, volumes, err := mount(t, root, objects, source("cm"))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "pods/uid-1/volumes/kubernetes.io~configmap/v")
	if v := volumes["v"]; v.HostPath != dir || !v.ReadOnly {
		t.Errorf("%+v", v)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	ready := filepath.Join(root, "pods/uid-1/plugins/kubernetes.io~empty-dir/wrapped_v/ready")
	if info, err := os.Lstat(ready); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the kubelet's note: %v, %v", info, err)
	}
	if mounts := volumetest.Mounts(t, root); len(mounts) > 0 {
		t.Errorf("mounted: %v", mounts)
	}
}

// TestNestedMounts makes the directories that a runtime cannot make in a volume that
// it mounts read-only.
func TestNestedMounts(t *testing.T) {
	root, objects := t.TempDir(), &store{}
	objects.set("cm", map[string]string{"a": "1"})
	p := volumetest.Pod("uid-1", corev1.Volume{Name: "v", VolumeSource: of(source("cm"))})
	p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts,
		corev1.VolumeMount{Name: "w", MountPath: "/v/inner/most"}, corev1.VolumeMount{Name: "w", MountPath: "/v/a/b"})
	m := volumetest.Manager(t, root, configmap.New(objects))
	for range 2 {
		p.Spec.Volumes = p.Spec.Volumes[:1]
		p.Spec.Containers[0].VolumeMounts[1].Name, p.Spec.Containers[0].VolumeMounts[2].Name = "v", "v"
		volumes, err := m.Mount(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		for _, inner := range []string{"inner/most", "a/b"} {
			if info, err := os.Lstat(filepath.Join(volumes["v"].HostPath, inner)); err != nil || !info.IsDir() {
				t.Errorf("%s: %v, %v", inner, info, err)
			}
		}
		objects.set("cm", map[string]string{"a": "2"})
	}
}
