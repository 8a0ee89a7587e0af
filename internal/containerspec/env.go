package containerspec

import (
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// environment works out the variables of a container. A value may use the
// variables before it. A variable declared twice is passed on once, with its
// last value, as in the kubelet; the order is that of first mention.
func environment(c *corev1.Container) (pairs []*runtimeapi.KeyValue, vars map[string]string, err error) {
	if len(c.EnvFrom) > 0 {
		return nil, nil, configFailure("container %q uses envFrom, which this agent does not support yet", c.Name)
	}
	vars = make(map[string]string, len(c.Env))
	var names []string
	for _, e := range c.Env {
		value := e.Value
		switch {
		case value != "":
			value = expand(value, vars)
		case e.ValueFrom != nil:
			return nil, nil, configFailure("env %q of container %q uses valueFrom.%s, which this agent does not support yet",
				e.Name, c.Name, sourceOf(e.ValueFrom))
		}
		if _, again := vars[e.Name]; !again {
			names = append(names, e.Name)
		}
		vars[e.Name] = value
	}
	for _, name := range names {
		pairs = append(pairs, &runtimeapi.KeyValue{Key: name, Value: []byte(vars[name])})
	}
	return pairs, vars, nil
}

func sourceOf(v *corev1.EnvVarSource) string {
	switch {
	case v.FieldRef != nil:
		return "fieldRef"
	case v.ResourceFieldRef != nil:
		return "resourceFieldRef"
	case v.ConfigMapKeyRef != nil:
		return "configMapKeyRef"
	case v.SecretKeyRef != nil:
		return "secretKeyRef"
	case v.FileKeyRef != nil:
		return "fileKeyRef"
	}
	return "(nothing)"
}

func expand(s string, vars map[string]string) string {
	return Expand(s, func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	})
}

func expandAll(in []string, vars map[string]string) []string {
	var out []string
	for _, s := range in {
		out = append(out, expand(s, vars))
	}
	return out
}
