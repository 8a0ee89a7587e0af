package emptydir_test

import (
	"os"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/emptydir"
	"nodeagent.dev/nodeagent/internal/volume/volumetest"
)

func needHugePages(t *testing.T) {
	t.Helper()
	needRoot(t)
	if _, err := os.Stat("/sys/kernel/mm/hugepages/hugepages-2048kB"); err != nil {
		t.Skip("the kernel has no huge pages of 2 MiB")
	}
}

// pages are requests for huge pages, by size.
func pages(sizes ...string) corev1.ResourceRequirements {
	requests := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}
	for _, size := range sizes {
		requests[corev1.ResourceName(corev1.ResourceHugePagesPrefix+size)] = resource.MustParse(size)
	}
	return corev1.ResourceRequirements{Requests: requests, Limits: requests}
}

// hugePod has a volume v of the medium.
func hugePod(medium corev1.StorageMedium, change ...func(*corev1.Pod)) *corev1.Pod {
	p := volumetest.Pod("u", corev1.Volume{Name: "v", VolumeSource: source(medium, "")})
	for _, f := range change {
		f(p)
	}
	return p
}

func container(sizes ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "more", Resources: pages(sizes...)})
	}
}

func initContainer(sizes ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: "init", Resources: pages(sizes...)})
	}
}

func whole(sizes ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { r := pages(sizes...); p.Spec.Resources = &r }
}

func TestHugePages(t *testing.T) {
	needHugePages(t)
	for name, c := range map[string]*corev1.Pod{
		"of a container":              hugePod("HugePages", container("2Mi")),
		"of an init container":        hugePod("HugePages", initContainer("2Mi")),
		"of the pod":                  hugePod("HugePages", whole("2Mi")),
		"of many":                     hugePod("HugePages", container("2Mi"), container("2048Ki"), initContainer("2Mi")),
		"of the medium":               hugePod("HugePages-2Mi", container("2Mi")),
		"of the medium, of two sizes": hugePod("HugePages-2Mi", container("1Gi"), initContainer("2Mi")),
		"written another way":         hugePod("HugePages-2048Ki", container("2Mi")),
	} {
		t.Run(name, func(t *testing.T) {
			dir := mounted(t, c)
			infos, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(dir))
			if err != nil || len(infos) != 1 {
				t.Fatalf("%d mounts, %v; want 1", len(infos), err)
			}
			if m := infos[0]; m.FSType != "hugetlbfs" || m.Source != "nodev" || !strings.Contains(m.VFSOptions, "pagesize=2M") {
				t.Errorf("%s from %s with %s", m.FSType, m.Source, m.VFSOptions)
			}
			if info, err := os.Stat(dir); err != nil || info.Mode() != os.ModeDir|0o755 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestHugePagesThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"not requested": {hugePod("HugePages", container()), "medium HugePages: hugePages storage requested, but there is no resource request for huge pages"},
		"of another size": {hugePod("HugePages-1Gi", container("2Mi")),
			"medium HugePages-1Gi: hugePages storage requested, but there is no resource request for huge pages"},
		"of many sizes": {hugePod("HugePages", container("2Mi"), initContainer("1Gi")),
			"medium: HugePages can't be used if container requests multiple huge page sizes"},
		"of many sizes in one container": {hugePod("HugePages", container("2Mi", "1Gi")),
			"medium: HugePages can't be used if container requests multiple huge page sizes"},
		"of no size": {hugePod("HugePages-large", container("2Mi")), "quantities must match the regular expression"},
	} {
		t.Run(name, func(t *testing.T) {
			m := volumetest.Manager(t, t.TempDir(), emptydir.New(emptydir.Config{}))
			if _, err := m.Mount(t.Context(), c.pod); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q in it", err, c.want)
			}
		})
	}
}

// TestHugePagesMountedBefore has the mount of the kubelet's, or of a life before.
func TestHugePagesMountedBefore(t *testing.T) {
	needHugePages(t)
	root := t.TempDir()
	p := hugePod("HugePages-2Mi", container("2Mi", "1Gi"))
	ref := volume.Ref{Root: root, UID: p.UID, Plugin: emptydir.Name, Name: "v"}
	if err := ref.Make(0o777); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("nodev", ref.Dir(), "hugetlbfs", 0, "pagesize=2Mi"); err != nil {
		t.Fatal(err)
	}
	m := volumetest.Manager(t, root, emptydir.New(emptydir.Config{}))
	if _, err := m.Mount(t.Context(), p); err != nil {
		t.Error(err)
	}
	if got := volumetest.Mounts(t, root); len(got) != 1 {
		t.Errorf("mounted: %v, want one", got)
	}
	p.Spec.Volumes[0].EmptyDir.Medium = "HugePages-1Gi"
	want := "pod u: mounted dir " + ref.Dir() + " pagesize '2Mi' and requested medium size '1Gi' differ"
	if _, err := m.Mount(t.Context(), p); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q in it", err, want)
	}
	if err := m.Unmount(t.Context(), pod.RefOf(p)); err != nil {
		t.Error(err)
	}
	if got := volumetest.Mounts(t, root); len(got) != 0 {
		t.Errorf("still mounted: %v", got)
	}
}

func TestHugePagesOfTheGroup(t *testing.T) {
	needHugePages(t)
	group := int64(4711)
	dir := mounted(t, hugePod("HugePages", container("2Mi"), func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &group}
	}))
	if info, err := os.Stat(dir); err != nil || info.Mode() != os.ModeDir|os.ModeSetgid|0o775 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
