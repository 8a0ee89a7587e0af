package claim_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/claim"
)

var _ volume.Claims = (*claim.Finder)(nil)

// cluster has one claim and one volume, or none.
type cluster struct {
	claim  *corev1.PersistentVolumeClaim
	volume *corev1.PersistentVolume
	broken error
}

func (c *cluster) PersistentVolumeClaim(_ context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	if c.broken != nil {
		return nil, c.broken
	}
	if c.claim == nil || c.claim.Namespace != namespace || c.claim.Name != name {
		return nil, apierrors.NewNotFound(corev1.Resource("persistentvolumeclaims"), name)
	}
	return c.claim, nil
}

func (c *cluster) PersistentVolume(_ context.Context, name string) (*corev1.PersistentVolume, error) {
	if c.volume == nil || c.volume.Name != name {
		return nil, apierrors.NewNotFound(corev1.Resource("persistentvolumes"), name)
	}
	return c.volume, nil
}

// scene is a pod with a bound claim; cases spoil it.
type scene struct {
	cluster

	pod    *corev1.Pod
	labels map[string]string
	asked  int // for the labels
	nobody error
}

func newScene(v corev1.VolumeSource) *scene {
	mode := corev1.PersistentVolumeFilesystem
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "pod-uid"},
		Spec: corev1.PodSpec{
			Volumes:    []corev1.Volume{{Name: "data", VolumeSource: v}},
			Containers: []corev1.Container{{Name: "main", VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}}},
		},
	}
	s := &scene{pod: p, labels: map[string]string{"zone": "a"}}
	s.claim = &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c", UID: "claim-uid"},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv"},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
	if v.Ephemeral != nil {
		yes := true
		s.claim.Name = "p-data"
		s.claim.OwnerReferences = []metav1.OwnerReference{{Kind: "Pod", Name: "p", UID: "pod-uid", Controller: &yes}}
	}
	s.volume = &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv"},
		Spec:       corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{UID: "claim-uid"}, VolumeMode: &mode},
	}
	return s
}

func (s *scene) find(ctx context.Context) (*corev1.PersistentVolume, error) {
	labels := func(context.Context) (map[string]string, error) {
		s.asked++
		return s.labels, s.nobody
	}
	return claim.New(&s.cluster, labels).Find(ctx, s.pod, &s.pod.Spec.Volumes[0])
}

func named() corev1.VolumeSource {
	return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}
}

func ephemeral() corev1.VolumeSource {
	return corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}
}

func affine(zone string) *corev1.VolumeNodeAffinity {
	return &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{zone}}},
	}}}}
}

func TestFind(t *testing.T) {
	now := metav1.NewTime(time.Now())
	block := corev1.PersistentVolumeBlock
	for name, c := range map[string]struct {
		source corev1.VolumeSource
		spoil  func(*scene)
		want   string // "" for success
	}{
		"a claim":             {named(), func(*scene) {}, ""},
		"an ephemeral volume": {ephemeral(), func(*scene) {}, ""},
		"deleted, but protected": {named(), func(s *scene) {
			s.claim.DeletionTimestamp, s.claim.Finalizers = &now, []string{"x", "kubernetes.io/pvc-protection"}
		}, ""},
		"a block device as a device":    {named(), func(s *scene) { s.volume.Spec.VolumeMode = &block; s.asDevice() }, ""},
		"on the right node":             {named(), func(s *scene) { s.volume.Spec.NodeAffinity = affine("a") }, ""},
		"an affinity without terms":     {named(), func(s *scene) { s.volume.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{} }, ""},
		"no claim":                      {named(), func(s *scene) { s.claim = nil }, `error processing PVC ns/c: failed to fetch PVC from API server: persistentvolumeclaims "c" not found`},
		"no claim for ephemeral volume": {ephemeral(), func(s *scene) { s.claim = nil }, `error processing PVC ns/p-data: failed to fetch PVC from API server: persistentvolumeclaims "p-data" not found`},
		"no API server":                 {named(), func(s *scene) { s.broken = errors.New("connection refused") }, `error processing PVC ns/c: failed to fetch PVC from API server: connection refused`},
		"being deleted":                 {named(), func(s *scene) { s.claim.DeletionTimestamp = &now }, `error processing PVC ns/c: PVC is being deleted`},
		"pending":                       {named(), func(s *scene) { s.claim.Status.Phase = corev1.ClaimPending }, `error processing PVC ns/c: PVC is not bound`},
		"lost":                          {named(), func(s *scene) { s.claim.Status.Phase = corev1.ClaimLost }, `error processing PVC ns/c: PVC is not bound`},
		"bound to nothing":              {named(), func(s *scene) { s.claim.Spec.VolumeName = "" }, `error processing PVC ns/c: PVC has empty pvc.Spec.VolumeName`},
		"another pod's":                 {ephemeral(), func(s *scene) { s.pod.UID = "other" }, `PVC ns/p-data was not created for pod ns/p (pod is not owner)`},
		"somebody's":                    {ephemeral(), func(s *scene) { s.claim.OwnerReferences = nil }, `PVC ns/p-data was not created for pod ns/p (pod is not owner)`},
		"no volume":                     {named(), func(s *scene) { s.volume = nil }, `error processing PVC ns/c: failed to fetch PV pv from API server: persistentvolumes "pv" not found`},
		"volume unclaimed":              {named(), func(s *scene) { s.volume.Spec.ClaimRef = nil }, `error processing PVC ns/c: found PV object pv but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim`},
		"volume of another claim":       {named(), func(s *scene) { s.volume.Spec.ClaimRef.UID = "old" }, `error processing PVC ns/c: found PV object pv but its pv.Spec.ClaimRef.UID old does not point to claim.UID claim-uid`},
		"no mode":                       {named(), func(s *scene) { s.volume.Spec.VolumeMode = nil }, `cannot get volumeMode for volume: pv`},
		"a device that is mounted":      {named(), func(s *scene) { s.volume.Spec.VolumeMode = &block }, `volume data has volumeMode Block, but is specified in volumeMounts`},
		"a directory as a device":       {named(), (*scene).asDevice, `volume data has volumeMode Filesystem, but is specified in volumeDevices`},
		"on another node":               {named(), func(s *scene) { s.volume.Spec.NodeAffinity = affine("b") }, `MountVolume.NodeAffinity check failed for volume "pv" : no matching NodeSelectorTerms`},
		"on nobody knows which node":    {named(), func(s *scene) { s.volume.Spec.NodeAffinity, s.nobody = affine("a"), errors.New("no answer") }, `MountVolume.NodeAffinity check failed for volume "pv" : no answer`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(c.source)
			c.spoil(s)
			got, err := s.find(t.Context())
			if asked := s.asked > 0; asked && s.volume.Spec.NodeAffinity == nil {
				t.Error("asked for the node's labels for nothing")
			}
			if c.want == "" {
				if err != nil || got != s.volume {
					t.Errorf("%v, %v", got, err)
				}
				return
			}
			if err == nil || err.Error() != c.want {
				t.Fatalf("%v\nwant %s", err, c.want)
			}
			failure, is := errors.AsType[*pod.Failure](err)
			if whole := strings.HasPrefix(c.want, "MountVolume."); is != whole || is && failure.Reason != volume.ReasonFailedMount {
				t.Errorf("a failure of its own: %v", is)
			}
		})
	}
}

func (s *scene) asDevice() {
	c := &s.pod.Spec.Containers[0]
	c.VolumeMounts, c.VolumeDevices = nil, []corev1.VolumeDevice{{Name: "data", DevicePath: "/dev/x"}}
}

func TestInitContainersCount(t *testing.T) {
	s := newScene(named())
	block := corev1.PersistentVolumeBlock
	s.volume.Spec.VolumeMode = &block
	s.asDevice()
	s.pod.Spec.InitContainers = []corev1.Container{{Name: "init", VolumeMounts: []corev1.VolumeMount{{Name: "data"}}}}
	if _, err := s.find(t.Context()); err == nil || err.Error() != "volume data has volumeMode Block, but is specified in volumeMounts" {
		t.Error(err)
	}
}

func TestNotAClaim(t *testing.T) {
	s := newScene(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	if _, err := s.find(t.Context()); err == nil {
		t.Error("an emptyDir has a claim")
	}
}

func TestLabelsAreNotNeeded(t *testing.T) {
	s := newScene(named())
	s.volume.Spec.NodeAffinity = affine("b")
	if _, err := claim.New(&s.cluster, nil).Find(t.Context(), s.pod, &s.pod.Spec.Volumes[0]); err != nil {
		t.Error(err)
	}
}

func TestMountOptions(t *testing.T) {
	old := map[string]string{corev1.MountOptionAnnotation: "hard,,nfsvers=3"}
	for name, c := range map[string]struct {
		volume *corev1.PersistentVolume
		more   []string
		want   []string
	}{
		"none":               {&corev1.PersistentVolume{}, nil, nil},
		"no volume":          {nil, []string{"ro"}, []string{"ro"}},
		"sorted, each once":  {options(nil, "vers=4.1", "hard", "", "hard", "ro"), []string{"ro"}, []string{"hard", "ro", "vers=4.1"}},
		"the annotation":     {options(old, "soft"), nil, []string{"hard", "nfsvers=3"}},
		"annotation, empty":  {options(map[string]string{corev1.MountOptionAnnotation: ""}, "soft"), []string{"ro"}, []string{"ro"}},
		"only the plugin's":  {&corev1.PersistentVolume{}, []string{"ro", "bind"}, []string{"bind", "ro"}},
		"nothing is changed": {options(nil, "b", "a"), []string{"c"}, []string{"a", "b", "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			var before []string
			if c.volume != nil {
				before = slices.Clone(c.volume.Spec.MountOptions)
			}
			if got := claim.MountOptions(c.volume, c.more...); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			if c.volume != nil && !slices.Equal(before, c.volume.Spec.MountOptions) {
				t.Errorf("the volume has become %q", c.volume.Spec.MountOptions)
			}
			refused := claim.NoMountOptions(c.volume)
			if has := c.volume != nil && len(claim.MountOptions(c.volume)) > 0; has != (refused != nil) {
				t.Errorf("refused: %v", refused)
			}
		})
	}
	const want = `MountVolume.MountOptionSupport check failed for volume "pv" : mount options are not supported for this volume type`
	if err := claim.NoMountOptions(options(nil, "ro")); err == nil || err.Error() != want {
		t.Error(err)
	}
}

func options(annotations map[string]string, options ...string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv", Annotations: annotations},
		Spec:       corev1.PersistentVolumeSpec{MountOptions: options},
	}
}
