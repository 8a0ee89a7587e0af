package content

import (
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// FromDownward returns the files that show a pod's own fields and its containers'
// resources. Where a limit of CPU, memory or ephemeral storage is not set, it is the
// node's allocatable amount. The error has all that fails, in the kubelet's words.
func FromDownward(p *corev1.Pod, items []corev1.DownwardAPIVolumeFile, defaultMode int32, allocatable corev1.ResourceList) (Files, error) {
	files := make(Files, len(items))
	var failed []error
	for i := range items {
		item := &items[i]
		var text string
		var err error
		switch {
		case item.FieldRef != nil:
			text, err = field(p, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			text, err = resourceField(p, item.ResourceFieldRef, allocatable)
		}
		if err != nil {
			failed = append(failed, err)
		}
		name := item.Path
		if name != "" { // Check is to see that
			name = path.Clean(name)
		}
		files[name] = File{Data: []byte(text), Mode: ModeOr(item.Mode, defaultMode)}
	}
	if err := utilerrors.NewAggregate(failed); err != nil {
		return nil, err
	}
	return files, nil
}

// field is the text of a field that volumes may show: fewer than variables may.
func field(p *corev1.Pod, path string) (string, error) {
	text, known, err := containerspec.MetadataField(p, path)
	switch {
	case err != nil || known:
		return text, err
	case containerspec.HasSubscript(path):
		return "", fmt.Errorf("fieldPath %q does not support subscript", path)
	}
	return "", fmt.Errorf("unsupported fieldPath: %v", path)
}

// resourceField is a container's request or limit in units of the divisor. Unlike in
// variables, the pod's own limits do not stand in for those of its containers.
func resourceField(p *corev1.Pod, ref *corev1.ResourceFieldSelector, allocatable corev1.ResourceList) (string, error) {
	c, k := pod.Find(p, ref.ContainerName)
	if c == nil || k == pod.KindEphemeral {
		return "", fmt.Errorf("container %s not found", ref.ContainerName)
	}
	return containerspec.ResourceField(c, ref, func(name corev1.ResourceName, unset resource.Quantity) resource.Quantity {
		if most, has := allocatable[name]; has {
			return most
		}
		return unset
	})
}
