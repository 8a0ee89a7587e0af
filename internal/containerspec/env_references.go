package containerspec

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// References returns the names of the ConfigMaps and Secrets, all of the pod's
// namespace, that a container's variables come from: what has to be in
// [pod.Environment] if it exists. Sorted, each once, the optional ones too.
func References(_ *corev1.Pod, c *corev1.Container) (configMaps, secrets []string) {
	found := newReferences()
	found.add(c)
	return found.sorted()
}

// ReferencesOf returns the names of all ConfigMaps and Secrets that a pod refers to:
// for the variables of all its containers, init and ephemeral ones included, for
// its volumes and for pulling its images.
func ReferencesOf(p *corev1.Pod) (configMaps, secrets []string) {
	found := newReferences()
	for _, c := range pod.Containers(p) {
		found.add(c)
	}
	for _, name := range PullSecrets(p) {
		found.secrets[name] = struct{}{}
	}
	for i := range p.Spec.Volumes {
		found.addVolume(&p.Spec.Volumes[i])
	}
	return found.sorted()
}

// PullSecrets are the names of the pod's imagePullSecrets, in order.
func PullSecrets(p *corev1.Pod) []string {
	var names []string
	for _, ref := range p.Spec.ImagePullSecrets {
		if ref.Name != "" {
			names = append(names, ref.Name)
		}
	}
	return names
}

type references struct{ configMaps, secrets map[string]struct{} }

func newReferences() references {
	return references{configMaps: map[string]struct{}{}, secrets: map[string]struct{}{}}
}

func (r references) add(c *corev1.Container) {
	for _, from := range c.EnvFrom {
		switch {
		case from.ConfigMapRef != nil:
			r.configMaps[from.ConfigMapRef.Name] = struct{}{}
		case from.SecretRef != nil:
			r.secrets[from.SecretRef.Name] = struct{}{}
		}
	}
	for _, e := range c.Env {
		switch from := e.ValueFrom; {
		case e.Value != "" || from == nil || from.FieldRef != nil || from.ResourceFieldRef != nil:
		case from.ConfigMapKeyRef != nil:
			r.configMaps[from.ConfigMapKeyRef.Name] = struct{}{}
		case from.SecretKeyRef != nil:
			r.secrets[from.SecretKeyRef.Name] = struct{}{}
		}
	}
}

func (r references) addVolume(v *corev1.Volume) {
	switch {
	case v.ConfigMap != nil:
		r.configMaps[v.ConfigMap.Name] = struct{}{}
	case v.Secret != nil:
		r.secrets[v.Secret.SecretName] = struct{}{}
	case v.Projected != nil:
		for _, from := range v.Projected.Sources {
			switch {
			case from.ConfigMap != nil:
				r.configMaps[from.ConfigMap.Name] = struct{}{}
			case from.Secret != nil:
				r.secrets[from.Secret.Name] = struct{}{}
			}
		}
	}
}

// sorted leaves out the empty name, which old API objects may have: nothing can
// be asked for by it.
func (r references) sorted() (configMaps, secrets []string) {
	delete(r.configMaps, "")
	delete(r.secrets, "")
	return slices.Sorted(maps.Keys(r.configMaps)), slices.Sorted(maps.Keys(r.secrets))
}
