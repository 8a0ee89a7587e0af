package volume

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// usedVolumes returns the volumes that some container of the pod mounts or has
// as a device, in the order of the spec. The others are not set up.
func usedVolumes(p *corev1.Pod) []*corev1.Volume {
	used := map[string]bool{}
	note := func(mounts []corev1.VolumeMount, devices []corev1.VolumeDevice) {
		for i := range mounts {
			used[mounts[i].Name] = true
		}
		for i := range devices {
			used[devices[i].Name] = true
		}
	}
	for i := range p.Spec.InitContainers {
		note(p.Spec.InitContainers[i].VolumeMounts, p.Spec.InitContainers[i].VolumeDevices)
	}
	for i := range p.Spec.Containers {
		note(p.Spec.Containers[i].VolumeMounts, p.Spec.Containers[i].VolumeDevices)
	}
	for i := range p.Spec.EphemeralContainers {
		note(p.Spec.EphemeralContainers[i].VolumeMounts, p.Spec.EphemeralContainers[i].VolumeDevices)
	}
	var volumes []*corev1.Volume
	for i := range p.Spec.Volumes {
		if used[p.Spec.Volumes[i].Name] {
			volumes = append(volumes, &p.Spec.Volumes[i])
		}
	}
	return volumes
}

// typeName is the volume's type as manifests spell it: the JSON name of the one
// field of its source that is set.
func typeName(v *corev1.Volume) string {
	source := reflect.ValueOf(v.VolumeSource)
	for i := range source.NumField() {
		if field := source.Field(i); field.Kind() == reflect.Pointer && !field.IsNil() {
			name, _, _ := strings.Cut(source.Type().Field(i).Tag.Get("json"), ",")
			return name
		}
	}
	return "(none given)"
}
