package admission

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/nodedeclaredfeatures"
	resourcehelper "k8s.io/component-helpers/resource"
)

// checkPodFeatures refuses a pod whose resources this node was told to ignore.
func (r *Rules) checkPodFeatures(p *corev1.Pod) *Rejection {
	if !r.features.PodLevelResources && resourcehelper.IsPodLevelResourcesSet(p) {
		return reject(ReasonPodLevelResources, "PodLevelResources feature gate is disabled")
	}
	return nil
}

// checkDeclaredFeatures refuses a pod that needs a feature which the node does
// not declare to have.
func (r *Rules) checkDeclaredFeatures(p *corev1.Pod, node Node) *Rejection {
	registry := nodedeclaredfeatures.DefaultFramework
	needed, err := registry.InferForPodScheduling(&nodedeclaredfeatures.PodInfo{Spec: &p.Spec, Status: &p.Status}, r.version)
	if err != nil {
		return reject(ReasonPodFeatureUnsupported, fmt.Sprintf("Failed to infer pod's feature requirements: %v", err))
	}
	declared := registry.TryMap(slices.Sorted(slices.Values(node.DeclaredFeatures)))
	match, err := registry.MatchNodeFeatureSet(needed, declared)
	switch {
	case err != nil:
		return reject(ReasonPodFeatureUnsupported, fmt.Sprintf("Failed to match pod's feature requirements against the node: %v", err))
	case !match.IsMatch:
		return reject(ReasonPodFeatureUnsupported, "Pod requires node features that are not available: "+strings.Join(match.UnsatisfiedRequirements, ", "))
	}
	return nil
}
