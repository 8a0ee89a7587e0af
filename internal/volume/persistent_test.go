package volume

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// bound finds the same PersistentVolume behind every claim.
type bound struct {
	volume *corev1.PersistentVolume
	err    error
}

// Find implements Claims.
func (b bound) Find(context.Context, *corev1.Pod, *corev1.Volume) (*corev1.PersistentVolume, error) {
	return b.volume, b.err
}

// disk is a plugin for PersistentVolumes.
type disk struct{ fake }

func (*disk) Supports(s Spec) bool { return s.Persistent != nil }

func claimed(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c", ReadOnly: true}}}
}

func TestVolumeBehindAClaim(t *testing.T) {
	pv := &corev1.PersistentVolume{}
	pv.Name, pv.Annotations = "pv-1", map[string]string{gidAnnotation: "3456"}
	var asked Request
	plugin := &disk{fake{mount: func(_ context.Context, r Request) error { asked = r; return nil }}}
	m, err := New(Config{RootDir: t.TempDir(), Claims: bound{volume: pv}}, []Plugin{plugin}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Mount(t.Context(), testPod("u", claimed("data")))
	if err != nil {
		t.Fatal(err)
	}
	want := pod.Volume{HostPath: filepath.Join(m.root, "pods/u/volumes/example.com~fake/pv-1"), Persistent: "pv-1", Group: 3456}
	if got["data"] != want {
		t.Errorf("%+v, want %+v", got["data"], want)
	}
	if !asked.ReadOnly || asked.Ref.Name != "pv-1" {
		t.Errorf("asked for %+v", asked)
	}
}

func TestGroupOf(t *testing.T) {
	for annotation, want := range map[string]int64{"": 0, "x": 0, "12": 12, "0": 0, "-3": 0, "34": 0} {
		p, pv := &corev1.Pod{}, &corev1.PersistentVolume{}
		p.Spec.SecurityContext = &corev1.PodSecurityContext{SupplementalGroups: []int64{34}}
		pv.Annotations = map[string]string{gidAnnotation: annotation}
		if got := groupOf(p, pv); got != want {
			t.Errorf("%q: %d, want %d", annotation, got, want)
		}
	}
	if got := groupOf(&corev1.Pod{}, &corev1.PersistentVolume{}); got != 0 {
		t.Errorf("a group %d without an annotation", got)
	}
}

// What a claim's finder says in full is told as it is; else it is said of the pod.
func TestWordsAboutClaims(t *testing.T) {
	for err, want := range map[error]string{
		&pod.Failure{Reason: ReasonFailedMount, Message: "all of it"}: "all of it",
		errors.New("PVC is not bound"):                                "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], failed to process volumes=[data]: PVC is not bound",
	} {
		m, made := New(Config{RootDir: t.TempDir(), Claims: bound{err: err}}, nil, zap.NewNop())
		if made != nil {
			t.Fatal(made)
		}
		_, got := m.Mount(t.Context(), testPod("u", claimed("data")))
		if parts := pod.Failures(got); len(parts) != 1 || parts[0].Error() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
