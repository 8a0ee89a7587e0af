package removed_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/removed"
	"nodeagent.dev/nodeagent/internal/volume/volumetest"
)

const gone = `failed to get Plugin from volumeSpec for volume "v" err=no volume plugin matched`

// want says how a type is to be refused, if it is.
func want(field string) (message string, unprocessed, refused bool) {
	switch field {
	case "rbd", "cephfs", "glusterfs", "quobyte", "storageos", "scaleIO", "flocker", "photonPersistentDisk":
		return gone, true, true
	case "iscsi", "fc", "flexVolume":
		return "volume type " + field + " is not supported by this version", false, true
	}
	driver, migrated := map[string]string{
		"awsElasticBlockStore": "ebs.csi.aws.com", "gcePersistentDisk": "pd.csi.storage.gke.io", "azureDisk": "disk.csi.azure.com",
		"azureFile": "file.csi.azure.com", "cinder": "cinder.csi.openstack.org", "vsphereVolume": "csi.vsphere.vmware.com",
		"portworxVolume": "pxd.portworx.com",
	}[field]
	return "volume type " + field + " is the business of the CSI driver " + driver, false, migrated
}

// each calls f with every type there is, set in a source of its own.
func each[T any](f func(field string, source T)) {
	for i := range reflect.TypeFor[T]().NumField() {
		var source T
		field := reflect.ValueOf(&source).Elem().Field(i)
		field.Set(reflect.New(field.Type().Elem()))
		name, _, _ := strings.Cut(reflect.TypeFor[T]().Field(i).Tag.Get("json"), ",")
		f(name, source)
	}
}

func TestEveryType(t *testing.T) {
	var supported []string
	check := func(t *testing.T, field string, spec volume.Spec) {
		message, unprocessed, refused := want(field)
		if is := removed.New().Supports(spec); is != refused {
			t.Fatalf("%s is supported: %v", field, is)
		}
		if !refused {
			return
		}
		supported = append(supported, field)
		_, err := removed.New().Mount(t.Context(), volume.Request{Spec: spec})
		refusal, is := errors.AsType[*removed.Refusal](err)
		if !is || !strings.HasPrefix(err.Error(), message) || refusal.Unprocessed() != unprocessed {
			t.Errorf("%s: %v (%+v), want %s", field, err, refusal, message)
		}
	}
	t.Run("in pods", func(t *testing.T) {
		each(func(field string, s corev1.VolumeSource) {
			check(t, field, volume.Spec{Volume: &corev1.Volume{Name: "v", VolumeSource: s}})
		})
	})
	inPods := slices.Clone(supported)
	supported = nil
	t.Run("behind claims", func(t *testing.T) {
		each(func(field string, s corev1.PersistentVolumeSource) {
			check(t, field, volume.Spec{
				Volume:     &corev1.Volume{Name: "other", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}},
				Persistent: &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: s}},
			})
		})
	})
	slices.Sort(inPods)
	slices.Sort(supported)
	if !slices.Equal(inPods, supported) || len(supported) != 18 {
		t.Errorf("in pods %v, behind claims %v", inPods, supported)
	}
}

func TestThroughTheManager(t *testing.T) {
	m := volumetest.Manager(t, t.TempDir(), removed.New())
	p := volumetest.Pod("u", corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{RBD: &corev1.RBDVolumeSource{}}})
	if _, err := m.Mount(t.Context(), p); err == nil || !strings.Contains(err.Error(), gone) {
		t.Error(err)
	}
}

func TestName(t *testing.T) {
	volumetest.Run(t, removed.New(), nil)
}
