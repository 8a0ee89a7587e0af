package containerspec

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"nodeagent.dev/nodeagent/internal/pod"
)

// fieldValue is the text of a pod's field for fieldRef. The API server lets
// through a part of the paths that are known here; static pods can have any.
func fieldValue(p *corev1.Pod, ref *corev1.ObjectFieldSelector, env *pod.Environment) (string, error) {
	if ref.APIVersion != "v1" {
		return "", configFailure("unsupported pod version: %s", ref.APIVersion)
	}
	if field, key, ok := subscript(ref.FieldPath); ok {
		return keyValue(p, ref.FieldPath, field, key)
	}
	switch ref.FieldPath {
	case "metadata.name":
		return p.Name, nil
	case "metadata.namespace":
		return p.Namespace, nil
	case "metadata.uid":
		return string(p.UID), nil
	case "metadata.labels":
		return formatMap(p.Labels), nil
	case "metadata.annotations":
		return formatMap(p.Annotations), nil
	case "spec.nodeName", "spec.host": // the latter is what clients of old said
		return p.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return p.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		if len(env.HostIPs) == 0 {
			return "", configFailure("host IP unknown; known addresses: []")
		}
		return addresses(env.HostIPs, ref.FieldPath == "status.hostIPs"), nil
	case "status.podIP", "status.podIPs":
		return addresses(env.PodIPs, ref.FieldPath == "status.podIPs"), nil
	case "spec.restartPolicy", "spec.schedulerName", "status.phase":
		return "", configFailure("unsupported fieldPath: %s", ref.FieldPath)
	}
	return "", configFailure("field label not supported: %s", ref.FieldPath)
}

// keyValue is one label or annotation; one that the pod does not have is empty.
func keyValue(p *corev1.Pod, path, field, key string) (string, error) {
	values, name := p.Labels, key
	switch field {
	case "metadata.labels":
	case "metadata.annotations":
		values, name = p.Annotations, strings.ToLower(key)
	default:
		return "", configFailure("field label does not support subscript: %s", path)
	}
	if errs := validation.IsQualifiedName(name); len(errs) > 0 {
		return "", configFailure("invalid key subscript in %s: %s", path, strings.Join(errs, ";"))
	}
	return values[key], nil
}

// subscript takes field['key'] apart; the key may be empty and have brackets.
func subscript(path string) (field, key string, ok bool) {
	open, closed := strings.CutSuffix(path, "']")
	field, key, ok = strings.Cut(open, "['")
	if !closed || !ok || field == "" {
		return "", "", false
	}
	return field, key, true
}

// formatMap writes key="value" lines, sorted.
func formatMap(m map[string]string) string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, key+"="+strconv.Quote(m[key]))
	}
	return strings.Join(lines, "\n")
}

func addresses(ips []string, all bool) string {
	if !all && len(ips) > 1 {
		ips = ips[:1]
	}
	return strings.Join(ips, ",")
}
