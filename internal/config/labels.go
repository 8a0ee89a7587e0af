package config

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	kubeletapis "k8s.io/kubelet/pkg/apis"
)

// checkNodeLabels holds --node-labels against the rule of the kubelet (and of the
// NodeRestriction admission plugin): in kubernetes.io and k8s.io a node may only set labels
// from a short list or below kubelet.kubernetes.io and node.kubernetes.io.
func checkNodeLabels(labels map[string]string) Problems {
	var problems Problems
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		value := labels[key]
		add := func(reason, fix string) {
			problems = append(problems, Problem{Flag: "node-labels", Value: key + "=" + value, Reason: reason, Fix: fix})
		}
		if reservedLabel(key) && !kubeletapis.IsKubeletLabel(key) {
			add("a node may not set this label on itself; in kubernetes.io and k8s.io it may set keys below "+
				strings.Join(kubeletapis.KubeletLabelNamespaces(), ", ")+" and exactly "+strings.Join(kubeletapis.KubeletLabels(), ", "),
				"remove it here and set it with kubectl label node")
		}
		if errs := validation.IsQualifiedName(key); len(errs) > 0 {
			add("not a valid label key ("+strings.Join(errs, "; ")+")", "correct the key")
		}
		if errs := validation.IsValidLabelValue(value); len(errs) > 0 {
			add("not a valid label value ("+strings.Join(errs, "; ")+")", "correct the value")
		}
	}
	return problems
}

// reservedLabel reports whether the key is in a namespace of Kubernetes itself.
func reservedLabel(key string) bool {
	namespace, _, ok := strings.Cut(key, "/")
	if !ok {
		return false
	}
	return slices.ContainsFunc([]string{"kubernetes.io", "k8s.io"}, func(own string) bool {
		return namespace == own || strings.HasSuffix(namespace, "."+own)
	})
}
