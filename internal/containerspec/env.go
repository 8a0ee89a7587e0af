package containerspec

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// environment works out the variables of a container: those of envFrom, then
// those of env, which may use $(NAME) of the variables before them and of the
// services. What is said later wins.
//
// A variable is passed on once, with its last value. The order is that of first
// mention, the keys of one object sorted, and the services' variables that
// nothing else has set come last. The kubelet's order is random.
//
// Names are passed on as they are: Kubernetes 1.37 lets a variable have any
// printable ASCII name without "=", and its kubelet skips none.
func environment(req *pod.ContainerRequest, node *Node) (pairs []*runtimeapi.KeyValue, vars map[string]string, err error) {
	links := req.Sandbox.Pod.Spec.EnableServiceLinks
	if links == nil {
		return nil, nil, configFailure("nil pod.spec.enableServiceLinks encountered, cannot construct envvars")
	}
	services := serviceVariables(req.Environment.Services, req.Sandbox.Pod.Namespace, *links)
	own := newVariables()
	for _, from := range req.Container.EnvFrom {
		if err := own.addAll(req, &from); err != nil {
			return nil, nil, err
		}
	}
	for _, e := range req.Container.Env {
		value, ok := e.Value, true
		if value != "" {
			value = expand(value, own.values, services.values)
		} else if e.ValueFrom != nil {
			if value, ok, err = sourceValue(req, node, e.ValueFrom); err != nil {
				return nil, nil, err
			}
		}
		if ok {
			own.set(e.Name, value)
		}
	}
	for _, name := range services.names {
		if _, set := own.values[name]; !set {
			own.set(name, services.values[name])
		}
	}
	for _, name := range own.names {
		pairs = append(pairs, &runtimeapi.KeyValue{Key: name, Value: []byte(own.values[name])})
	}
	return pairs, own.values, nil
}

// variables are variables in the order of their first mention.
type variables struct {
	names  []string
	values map[string]string
}

func newVariables() *variables { return &variables{values: map[string]string{}} }

func (v *variables) set(name, value string) {
	if _, again := v.values[name]; !again {
		v.names = append(v.names, name)
	}
	v.values[name] = value
}

// addAll adds all keys of the object that an element of envFrom names.
func (v *variables) addAll(req *pod.ContainerRequest, from *corev1.EnvFromSource) error {
	switch {
	case from.ConfigMapRef != nil:
		object, err := configMap(req, from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
		if object == nil {
			return err
		}
		for _, key := range slices.Sorted(maps.Keys(object.Data)) {
			v.set(from.Prefix+key, object.Data[key])
		}
	case from.SecretRef != nil:
		object, err := secret(req, from.SecretRef.Name, from.SecretRef.Optional)
		if object == nil {
			return err
		}
		for _, key := range slices.Sorted(maps.Keys(object.Data)) {
			v.set(from.Prefix+key, string(object.Data[key]))
		}
	}
	return nil
}

// sourceValue resolves valueFrom. Not ok without an error: the source is
// optional and absent, and the variable is not set. A source that says nothing
// gives the empty value.
func sourceValue(req *pod.ContainerRequest, node *Node, from *corev1.EnvVarSource) (value string, ok bool, err error) {
	p := req.Sandbox.Pod
	switch {
	case from.FieldRef != nil:
		value, err = fieldValue(p, from.FieldRef, &req.Environment)
		return value, err == nil, err
	case from.ResourceFieldRef != nil:
		value, err = resourceValue(p, req.Container, from.ResourceFieldRef, node.Allocatable)
		return value, err == nil, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		object, err := configMap(req, ref.Name, ref.Optional)
		if object == nil {
			return "", false, err
		}
		value, ok = object.Data[ref.Key]
		if !ok && !isTrue(ref.Optional) {
			return "", false, configFailure("couldn't find key %s in ConfigMap %s/%s", ref.Key, p.Namespace, ref.Name)
		}
		return value, ok, nil
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		object, err := secret(req, ref.Name, ref.Optional)
		if object == nil {
			return "", false, err
		}
		data, ok := object.Data[ref.Key]
		if !ok && !isTrue(ref.Optional) {
			return "", false, configFailure("couldn't find key %s in Secret %s/%s", ref.Key, p.Namespace, ref.Name)
		}
		return string(data), ok, nil
	case from.FileKeyRef != nil:
		return fileValue(req, from.FileKeyRef)
	}
	return "", true, nil
}

// configMap returns a ConfigMap of the pod's namespace; nil without an error: it
// does not exist and need not.
func configMap(req *pod.ContainerRequest, name string, optional *bool) (*corev1.ConfigMap, error) {
	if object := req.Environment.ConfigMaps[name]; object != nil || isTrue(optional) {
		return object, nil
	}
	return nil, configFailure("configmap %q not found", name)
}

// secret returns a Secret as configMap does a ConfigMap.
func secret(req *pod.ContainerRequest, name string, optional *bool) (*corev1.Secret, error) {
	if object := req.Environment.Secrets[name]; object != nil || isTrue(optional) {
		return object, nil
	}
	return nil, configFailure("secret %q not found", name)
}

// expand takes a name from the first of vars that has it.
func expand(s string, vars ...map[string]string) string {
	return Expand(s, func(name string) (string, bool) {
		for _, m := range vars {
			if v, ok := m[name]; ok {
				return v, true
			}
		}
		return "", false
	})
}

func expandAll(in []string, vars map[string]string) []string {
	var out []string
	for _, s := range in {
		out = append(out, expand(s, vars))
	}
	return out
}
