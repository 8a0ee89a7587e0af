package emptydir_test

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume/emptydir"
	"nodeagent.dev/nodeagent/internal/volume/volumetest"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
}

func source(medium corev1.StorageMedium, limit string) corev1.VolumeSource {
	s := &corev1.EmptyDirVolumeSource{Medium: medium}
	if limit != "" {
		q := resource.MustParse(limit)
		s.SizeLimit = &q
	}
	return corev1.VolumeSource{EmptyDir: s}
}

func TestConformance(t *testing.T) {
	needRoot(t)
	volumetest.Run(t, emptydir.New(emptydir.Config{}), map[string]corev1.VolumeSource{
		"disk":   source("", ""),
		"memory": source(corev1.StorageMediumMemory, "1Mi"),
	})
}

func TestMode(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	m := volumetest.Manager(t, t.TempDir(), emptydir.New(emptydir.Config{}))
	p := volumetest.Pod("u", corev1.Volume{Name: "v", VolumeSource: source("", "")})
	for _, want := range []os.FileMode{0o777, 0o700} {
		volumes, err := m.Mount(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		dir := volumes["v"].HostPath
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm() != want {
			t.Fatalf("mode %v, %v; want %v", info.Mode(), err, want)
		}
		if err := os.Chmod(dir, 0o700); err != nil { // as a database does
			t.Fatal(err)
		}
	}
}

func TestFSGroup(t *testing.T) {
	needRoot(t)
	group := int64(4711)
	m := volumetest.Manager(t, t.TempDir(), emptydir.New(emptydir.Config{}))
	p := volumetest.Pod("u", corev1.Volume{Name: "v", VolumeSource: source("", "")})
	p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &group}
	volumes, err := m.Mount(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(volumes["v"].HostPath)
	if err != nil {
		t.Fatal(err)
	}
	if gid := info.Sys().(*syscall.Stat_t).Gid; gid != uint32(group) || info.Mode()&os.ModeSetgid == 0 {
		t.Errorf("group %d, mode %v; want %d and setgid", gid, info.Mode(), group)
	}
}

func TestMemorySize(t *testing.T) {
	needRoot(t)
	memory := func(limit string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(limit)}}
	}
	for name, c := range map[string]struct {
		limit, podLimit string
		allocatable     int64
		want            uint64
	}{
		"of the volume":                   {limit: "4Mi", want: 4 << 20},
		"of the pod when it is smaller":   {limit: "8Mi", podLimit: "2Mi", want: 2 << 20},
		"of the node":                     {allocatable: 3 << 20, want: 3 << 20},
		"of the volume within the node's": {limit: "1Mi", podLimit: "16Mi", allocatable: 8 << 20, want: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			m := volumetest.Manager(t, t.TempDir(), emptydir.New(emptydir.Config{AllocatableMemory: c.allocatable}))
			p := volumetest.Pod("u", corev1.Volume{Name: "v", VolumeSource: source(corev1.StorageMediumMemory, c.limit)})
			if c.podLimit != "" {
				p.Spec.Containers[0].Resources = memory(c.podLimit)
			}
			volumes, err := m.Mount(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := m.Unmount(t.Context(), pod.RefOf(p)); err != nil {
					t.Error(err)
				}
			}()
			var st syscall.Statfs_t
			if err := syscall.Statfs(volumes["v"].HostPath, &st); err != nil {
				t.Fatal(err)
			}
			if got := st.Blocks * uint64(st.Bsize); got != c.want {
				t.Errorf("size %d, want %d", got, c.want)
			}
		})
	}
}

func TestUnknownMedium(t *testing.T) {
	m := volumetest.Manager(t, t.TempDir(), emptydir.New(emptydir.Config{}))
	for _, medium := range []corev1.StorageMedium{"Tape", "HugePages2Mi", "hugepages"} {
		p := volumetest.Pod("u", corev1.Volume{Name: "v", VolumeSource: source(medium, "")})
		want := `unknown storage medium "` + string(medium) + `"`
		if _, err := m.Mount(t.Context(), p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", medium, err, want)
		}
	}
}

// TestModeInMemory: the kernel's modes stay, with what an fsGroup adds to them.
func TestModeInMemory(t *testing.T) {
	needRoot(t)
	group := int64(4711)
	for name, c := range map[string]struct {
		group *int64
		want  os.FileMode
	}{
		"alone":   {nil, os.ModeDir | os.ModeSticky | 0o777},
		"fsGroup": {&group, os.ModeDir | os.ModeSticky | os.ModeSetgid | 0o777},
	} {
		t.Run(name, func(t *testing.T) {
			p := volumetest.Pod("u", corev1.Volume{Name: "v", VolumeSource: source(corev1.StorageMediumMemory, "1Mi")})
			p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: c.group}
			dir := mounted(t, p)
			if info, err := os.Stat(dir); err != nil || info.Mode() != c.want {
				t.Errorf("mode %v, %v; want %v", info.Mode(), err, c.want)
			}
		})
	}
}

// mounted mounts the volume v of a pod for the time of the test.
func mounted(t *testing.T, p *corev1.Pod) string {
	t.Helper()
	m := volumetest.Manager(t, t.TempDir(), emptydir.New(emptydir.Config{}))
	volumes, err := m.Mount(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Unmount(context.WithoutCancel(t.Context()), pod.RefOf(p)); err != nil {
			t.Error(err)
		}
	})
	return volumes["v"].HostPath
}
