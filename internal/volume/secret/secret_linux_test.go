package secret_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/secret"
	"nodeagent.dev/nodeagent/internal/volume/volumetest"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
}

// store has the Secrets of the namespace default.
type store struct {
	mu      sync.Mutex
	secrets map[string]*corev1.Secret
}

// Secret implements secret.Objects.
func (s *store) Secret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.secrets[name]; found != nil && namespace == "default" {
		return found, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("secret"), name)
}

func (s *store) set(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets = map[string]*corev1.Secret{"s": {Data: map[string][]byte{key: []byte(value)}}}
}

func source(name string, items ...corev1.KeyToPath) corev1.VolumeSource {
	return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name, Items: items, DefaultMode: new(int32(0o400))}}
}

func optional(s corev1.VolumeSource) corev1.VolumeSource {
	s.Secret.Optional = new(true)
	return s
}

func TestConformance(t *testing.T) {
	needRoot(t)
	objects := &store{}
	objects.set("a", "1")
	volumetest.Run(t, secret.New(secret.Config{Objects: objects}), map[string]corev1.VolumeSource{
		"all keys": source("s"),
		"items":    source("s", corev1.KeyToPath{Key: "a", Path: "x/y"}),
		"optional": optional(source("none")),
	})
}

func TestLive(t *testing.T) {
	needRoot(t)
	objects := &store{}
	volumetest.RunLive(t, volumetest.Live{
		New:    func() volume.Live { return secret.New(secret.Config{Objects: objects}) },
		Source: source("s", corev1.KeyToPath{Key: "key", Path: "dir/file"}), File: "dir/file",
		Set:   func(_ *corev1.Pod, text string) { objects.set("key", text) },
		Break: func(*corev1.Pod) { objects.set("other", "") },
	})
}

// mount mounts the volume v of a pod and says what failed.
func mount(t *testing.T, objects secret.Objects, cfg secret.Config, p *corev1.Pod) (dir, said string) {
	t.Helper()
	cfg.Objects = objects
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := volumetest.Manager(t, root, secret.New(cfg))
	t.Cleanup(func() {
		if err := m.Unmount(context.WithoutCancel(t.Context()), pod.RefOf(p)); err != nil {
			t.Error(err)
		}
		if left := volumetest.Mounts(t, root); len(left) > 0 {
			t.Errorf("still mounted: %v", left)
		}
	})
	volumes, err := m.Mount(t.Context(), p)
	if err != nil {
		return "", err.Error()
	}
	if v := volumes["v"]; !v.ReadOnly || v.HostPath != filepath.Join(root, "pods/uid-1/volumes/kubernetes.io~secret/v") {
		t.Errorf("%+v", v)
	}
	return volumes["v"].HostPath, ""
}

func TestWhatIsMissing(t *testing.T) {
	needRoot(t)
	objects := &store{}
	objects.set("a", "1")
	for name, c := range map[string]struct {
		source corev1.VolumeSource
		fails  string
	}{
		"nothing":               {source: source("s")},
		"the secret":            {source: source("none"), fails: `MountVolume.SetUp failed for volume "v" : secret "none" not found`},
		"the secret, optional":  {source: optional(source("none"))},
		"a key":                 {source: source("s", corev1.KeyToPath{Key: "K", Path: "x"}), fails: `MountVolume.SetUp failed for volume "v" : references non-existent secret key: K`},
		"a key, optional":       {source: optional(source("s", corev1.KeyToPath{Key: "K", Path: "x"}))},
		"a place in the volume": {source: source("s", corev1.KeyToPath{Key: "a", Path: "/x"}), fails: `MountVolume.SetUp failed for volume "v" : invalid path: must be relative path: /x`},
	} {
		t.Run(name, func(t *testing.T) {
			_, said := mount(t, objects, secret.Config{}, volumetest.Pod("uid-1", corev1.Volume{Name: "v", VolumeSource: c.source}))
			if !strings.Contains(said, c.fails) || (c.fails == "") != (said == "") {
				t.Errorf("%q, want %q", said, c.fails)
			}
		})
	}
}

// TestOnlyInMemory: a secret is on a tmpfs of the kubelet's size, and is never
// written to what is below it.
func TestOnlyInMemory(t *testing.T) {
	needRoot(t)
	limit := func(amount string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(amount)}}
	}
	for name, c := range map[string]struct {
		limit, init string
		allocatable int64
		want        uint64
	}{
		"of the node":                      {allocatable: 4 << 20, want: 4 << 20},
		"of the pod, when it is smaller":   {limit: "2Mi", init: "1Mi", allocatable: 4 << 20, want: 2 << 20},
		"of the node, when it is smaller":  {limit: "8Mi", init: "1Mi", allocatable: 4 << 20, want: 4 << 20},
		"not of one container alone":       {limit: "2Mi", allocatable: 4 << 20, want: 4 << 20},
		"of the pod, nothing known of the": {limit: "2Mi", init: "1Mi", want: 2 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			objects := &store{}
			objects.set("a", "1")
			p := volumetest.Pod("uid-1", corev1.Volume{Name: "v", VolumeSource: source("s")})
			p.Spec.InitContainers = []corev1.Container{{Name: "init"}}
			if c.limit != "" {
				p.Spec.Containers[0].Resources = limit(c.limit)
			}
			if c.init != "" {
				p.Spec.InitContainers[0].Resources = limit(c.init)
			}
			dir, said := mount(t, objects, secret.Config{AllocatableMemory: c.allocatable}, p)
			if said != "" {
				t.Fatal(said)
			}
			var st unix.Statfs_t
			if err := unix.Statfs(dir, &st); err != nil {
				t.Fatal(err)
			}
			if size := st.Blocks * uint64(st.Bsize); uint32(st.Type) != unix.TMPFS_MAGIC || size != c.want {
				t.Errorf("type %x, size %d, want %d", st.Type, size, c.want)
			}
			if info, err := os.Stat(dir); err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o777 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
		})
	}
}

func TestNothingIsWrittenToADisk(t *testing.T) {
	needRoot(t)
	objects := &store{}
	objects.set("a", "1")
	p := volumetest.Pod("uid-1", corev1.Volume{Name: "v", VolumeSource: source("s")})
	dir, said := mount(t, objects, secret.Config{}, p)
	if said != "" {
		t.Fatal(said)
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	root := strings.TrimSuffix(dir, "/pods/uid-1/volumes/kubernetes.io~secret/v")
	plugin := secret.New(secret.Config{Objects: objects})
	_, err := plugin.Update(t.Context(), volume.Request{
		Pod: p, Spec: volume.Spec{Volume: &p.Spec.Volumes[0]}, Ref: volume.Ref{Root: root, UID: p.UID, Plugin: secret.Name, Name: "v"},
	})
	if err == nil || !strings.Contains(err.Error(), "not in memory any more") {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
	// Mounting anew mends it.
	if _, err := volumetest.Manager(t, root, plugin).Mount(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(dir + "/a"); string(data) != "1" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
}

func TestGroup(t *testing.T) {
	needRoot(t)
	objects := &store{}
	objects.set("a", "1")
	p := volumetest.Pod("uid-1", corev1.Volume{Name: "v", VolumeSource: source("s")})
	p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: new(int64(4711))}
	dir, said := mount(t, objects, secret.Config{}, p)
	if said != "" {
		t.Fatal(said)
	}
	for name, mode := range map[string]os.FileMode{
		"": os.ModeDir | os.ModeSetgid | os.ModeSticky | 0o777, "..data/": os.ModeDir | os.ModeSetgid | 0o755, "a": 0o440,
	} {
		info, err := os.Stat(dir + "/" + name)
		if err != nil || info.Mode() != mode || info.Sys().(*syscall.Stat_t).Gid != 4711 {
			t.Errorf("%s: %v of %+v, %v", name, info.Mode(), info.Sys(), err)
		}
	}
}
