package claim

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// reasonFailedMount is the event reason of a volume that cannot be set up.
const reasonFailedMount = "FailedMount"

// Failed is what the kubelet says when a step before or beside the setting up of a
// volume fails: "MountVolume.NodeAffinity check failed" and the like. volume is
// the name of the PersistentVolume, or the volume's in the pod.
func Failed(step, volume string, err error) error {
	return &pod.Failure{Reason: reasonFailedMount, Message: fmt.Sprintf("%s for volume %q : %v", step, volume, err), Err: err}
}

// MountOptions are the volume's and the given ones, sorted and each once. The old
// annotation wins over the field, as for the kubelet. volume may be nil.
func MountOptions(volume *corev1.PersistentVolume, more ...string) []string {
	if volume == nil {
		return more
	}
	own := volume.Spec.MountOptions
	if old, is := volume.Annotations[corev1.MountOptionAnnotation]; is {
		own = strings.Split(old, ",")
	}
	all := slices.DeleteFunc(slices.Clone(own), func(o string) bool { return o == "" })
	all = append(all, more...)
	slices.Sort(all)
	return slices.Compact(all)
}

// NoMountOptions fails if the volume has some, for types that do not know what to
// do with them.
func NoMountOptions(volume *corev1.PersistentVolume) error {
	if len(MountOptions(volume)) == 0 {
		return nil
	}
	return Failed("MountVolume.MountOptionSupport check failed", volume.Name, errors.New("mount options are not supported for this volume type"))
}
