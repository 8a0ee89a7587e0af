package volume

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

func TestMounted(t *testing.T) {
	m := newManager(t, &fake{})
	empty := func(name string, medium corev1.StorageMedium) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: medium}}}
	}
	p := testPod("u", empty("disk", ""), empty("memory", corev1.StorageMediumMemory))
	if got := m.Mounted(p.UID); got != nil {
		t.Errorf("before: %+v", got)
	}
	at, err := m.Mount(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	want := []Mounted{{Name: "disk", Dir: at["disk"].HostPath, Ephemeral: true}, {Name: "memory", Dir: at["memory"].HostPath}}
	if diff := cmp.Diff(want, m.Mounted(p.UID)); diff != "" {
		t.Error(diff)
	}
	if err := m.Unmount(t.Context(), pod.RefOf(p)); err != nil {
		t.Fatal(err)
	}
	if got := m.Mounted(p.UID); got != nil {
		t.Errorf("after: %+v", got)
	}
}

// TestMeasurable: what is not below the pod's own directory is not the pod's.
func TestMeasurable(t *testing.T) {
	m := newManager(t, &fake{})
	p := testPod("u")
	p.Spec.HostUsers = new(false)
	claim := corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"},
	}}
	own := corev1.Volume{Name: "own", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}
	host := corev1.Volume{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/usr"}}}
	image := corev1.Volume{Name: "image"}
	dir := func(name string) string {
		return Ref{Root: m.root, UID: p.UID, Plugin: "kubernetes.io/local", Name: name}.Dir()
	}
	got := m.measurable(p, []*corev1.Volume{&claim, &own, &host, &image}, pod.Volumes{
		"data": {HostPath: dir("pv-1"), Persistent: "pv-1"}, "own": {HostPath: dir("pv-2"), Persistent: "pv-2"},
		"host": {HostPath: "/usr"}, "image": {},
	})
	want := []Mounted{
		{Name: "data", Claim: "claim", Dir: dir("pv-1"), FileSystem: true, Confined: true},
		{Name: "own", Claim: "p-own", Dir: dir("pv-2"), FileSystem: true, Confined: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
