package containerspec

import (
	"fmt"
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
	text, known, err := MetadataField(p, ref.FieldPath)
	switch {
	case err != nil:
		return "", configFailure("%v", err)
	case known:
		return text, nil
	case HasSubscript(ref.FieldPath):
		return "", configFailure("field label does not support subscript: %s", ref.FieldPath)
	}
	switch ref.FieldPath {
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

// MetadataField is the text of one of the pod's own fields that may be shown both in
// variables and in volumes; not known: it is another field. A label or annotation
// that the pod does not have is empty.
func MetadataField(p *corev1.Pod, path string) (text string, known bool, err error) {
	field, key, one := subscript(path)
	switch {
	case one && field == "metadata.labels":
		text, err = keyValue(p.Labels, path, key, key)
	case one && field == "metadata.annotations":
		text, err = keyValue(p.Annotations, path, key, strings.ToLower(key))
	case path == "metadata.name":
		text = p.Name
	case path == "metadata.namespace":
		text = p.Namespace
	case path == "metadata.uid":
		text = string(p.UID)
	case path == "metadata.labels":
		text = formatMap(p.Labels)
	case path == "metadata.annotations":
		text = formatMap(p.Annotations)
	default:
		return "", false, nil
	}
	return text, true, err
}

func keyValue(values map[string]string, path, key, qualified string) (string, error) {
	if errs := validation.IsQualifiedName(qualified); len(errs) > 0 {
		return "", fmt.Errorf("invalid key subscript in %s: %s", path, strings.Join(errs, ";"))
	}
	return values[key], nil
}

// HasSubscript reports whether a field path asks for one key of a field: field['key'].
func HasSubscript(path string) bool {
	_, _, ok := subscript(path)
	return ok
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
