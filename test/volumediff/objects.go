package volumediff

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// storageClass is that of all volumes in testdata; nobody provides for it.
const storageClass = "manual"

// Objects reads what the pods refer to.
func Objects(names Names) ([]runtime.Object, error) {
	var all []runtime.Object
	err := documents("testdata/objects", names, func(text []byte) error {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(text, nil, nil)
		if err != nil {
			return fmt.Errorf("parse an object: %w", err)
		}
		all = append(all, object)
		if v, ok := object.(*corev1.PersistentVolume); ok {
			if claim := completeVolume(v, names["NODE"]); claim != nil {
				all = append(all, claim)
			}
		}
		return nil
	})
	return all, err
}

// completeVolume fills in what volumes have in common and returns a claim for it,
// unless it is for another one.
func completeVolume(v *corev1.PersistentVolume, node string) *corev1.PersistentVolumeClaim {
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	v.Spec.Capacity, v.Spec.StorageClassName = size, storageClass
	if len(v.Spec.AccessModes) == 0 {
		v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	}
	if v.Spec.Local != nil && v.Spec.NodeAffinity == nil {
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
		}}}}
	}
	if v.Spec.ClaimRef != nil {
		return nil
	}
	v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: metav1.NamespaceDefault, Name: v.Name}
	return &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Name: v.Name, Namespace: metav1.NamespaceDefault},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: v.Spec.AccessModes, StorageClassName: new(storageClass), VolumeName: v.Name,
			Resources: corev1.VolumeResourceRequirements{Requests: size},
		},
	}
}
