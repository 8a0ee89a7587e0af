package volume

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// usedVolumes returns the volumes that some container of the pod mounts or has
// as a device, in the order of the spec. The others are not set up.
func usedVolumes(p *corev1.Pod) []*corev1.Volume {
	used := map[string]bool{}
	for _, c := range pod.Containers(p) {
		for i := range c.VolumeMounts {
			used[c.VolumeMounts[i].Name] = true
		}
		for i := range c.VolumeDevices {
			used[c.VolumeDevices[i].Name] = true
		}
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
