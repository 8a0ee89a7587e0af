package file

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validate checks what would otherwise fail late, on the runtime, with a message
// that does not name the field. It is a part of what the API server checks.
func validate(p *corev1.Pod) error {
	var errs field.ErrorList
	meta := field.NewPath("metadata")
	errs = append(errs, words(meta.Child("name"), p.Name, validation.IsDNS1123Subdomain)...)
	errs = append(errs, words(meta.Child("namespace"), p.Namespace, validation.IsDNS1123Label)...)
	for key, value := range p.Labels {
		errs = append(errs, words(meta.Child("labels"), key, validation.IsQualifiedName)...)
		errs = append(errs, words(meta.Child("labels").Key(key), value, validation.IsValidLabelValue)...)
	}
	for key := range p.Annotations {
		errs = append(errs, words(meta.Child("annotations"), key, validation.IsQualifiedName)...)
	}
	errs = append(errs, validateSpec(&p.Spec, field.NewPath("spec"))...)
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("invalid pod: %w", errs.ToAggregate())
}

func validateSpec(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	volumes := sets.New[string]()
	for i := range spec.Volumes {
		at := path.Child("volumes").Index(i).Child("name")
		errs = append(errs, unique(at, spec.Volumes[i].Name, volumes)...)
	}
	if len(spec.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), "a pod has at least one container"))
	}
	names := sets.New[string]()
	for i := range spec.InitContainers {
		errs = append(errs, validateContainer(&spec.InitContainers[i], path.Child("initContainers").Index(i), names, volumes)...)
	}
	for i := range spec.Containers {
		errs = append(errs, validateContainer(&spec.Containers[i], path.Child("containers").Index(i), names, volumes)...)
	}
	if len(spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("ephemeralContainers"), "they can only be added to a running pod"))
	}
	errs = append(errs, oneOf(path.Child("restartPolicy"), spec.RestartPolicy,
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, oneOf(path.Child("dnsPolicy"), spec.DNSPolicy,
		corev1.DNSClusterFirst, corev1.DNSClusterFirstWithHostNet, corev1.DNSDefault, corev1.DNSNone)...)
	if spec.OS != nil {
		errs = append(errs, oneOf(path.Child("os", "name"), spec.OS.Name, corev1.Linux)...)
	}
	return errs
}

func validateContainer(c *corev1.Container, path *field.Path, names, volumes sets.Set[string]) field.ErrorList {
	errs := unique(path.Child("name"), c.Name, names)
	if c.Image == "" {
		errs = append(errs, field.Required(path.Child("image"), "name the image to run"))
	}
	errs = append(errs, oneOf(path.Child("imagePullPolicy"), c.ImagePullPolicy,
		corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	for i := range c.Ports {
		errs = append(errs, validatePort(&c.Ports[i], path.Child("ports").Index(i))...)
	}
	for i := range c.Env {
		if c.Env[i].Name == "" {
			errs = append(errs, field.Required(path.Child("env").Index(i).Child("name"), ""))
		}
	}
	targets := sets.New[string]()
	for i := range c.VolumeMounts {
		m, at := &c.VolumeMounts[i], path.Child("volumeMounts").Index(i)
		if !volumes.Has(m.Name) {
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		switch {
		case m.MountPath == "":
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		case targets.Has(m.MountPath):
			errs = append(errs, field.Duplicate(at.Child("mountPath"), m.MountPath))
		}
		targets.Insert(m.MountPath)
	}
	for name, limit := range c.Resources.Limits {
		if request, set := c.Resources.Requests[name]; set && request.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(path.Child("resources", "requests").Key(string(name)), request.String(),
				"must be at most the limit, "+limit.String()))
		}
	}
	return errs
}

func validatePort(p *corev1.ContainerPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsValidPortNum(int(p.ContainerPort)) {
		errs = append(errs, field.Invalid(path.Child("containerPort"), p.ContainerPort, msg))
	}
	if p.HostPort != 0 {
		for _, msg := range validation.IsValidPortNum(int(p.HostPort)) {
			errs = append(errs, field.Invalid(path.Child("hostPort"), p.HostPort, msg))
		}
	}
	return append(errs, oneOf(path.Child("protocol"), p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
}

// unique checks a name that has to be a DNS label and the only one of its kind.
func unique(path *field.Path, name string, taken sets.Set[string]) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := words(path, name, validation.IsDNS1123Label)
	if taken.Has(name) {
		errs = append(errs, field.Duplicate(path, name))
	}
	taken.Insert(name)
	return errs
}

func words(path *field.Path, value string, check func(string) []string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range check(value) {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}

func oneOf[T ~string](path *field.Path, value T, allowed ...T) field.ErrorList {
	if slices.Contains(allowed, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, allowed)}
}
