package admission

import (
	"fmt"
	"maps"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// nodeOS is the only operating system this agent runs on.
const nodeOS = string(corev1.Linux)

// predicates are the scheduler's rules, asked again by the node: a pod may have
// been bound past the scheduler, and the node may have changed since.
func (r *Rules) predicates(p *corev1.Pod, static bool, others []*Tenant, node Node) Decision {
	allocatable := node.allocatable()
	if allocatable == nil {
		return Decision{Reject: reject(ReasonInvalidNodeInfo, "Kubelet cannot get node info.")}
	}
	if no := hopeless(p, node); no != nil {
		return Decision{Reject: no}
	}
	short := r.insufficient(p, others, allocatable)
	misplaced := r.misplaced(p, static, others, node)
	switch {
	case len(short) == 0 && len(misplaced) == 0:
		return Decision{}
	case len(misplaced) > 0 && (len(short) == 0 || Critical(p, static)):
		// To a critical pod a shortage is no obstacle, so it is no reason either.
		stale := len(short) == 0 && len(misplaced) == 1 && misplaced[0].Reason == ReasonNodeAffinity
		return Decision{Reject: misplaced[0], StaleNode: stale}
	case !Critical(p, static):
		return Decision{Reject: reject(short[0].Reason(), short[0].String())}
	}
	victims, err := r.preempt(p, others, allocatable)
	if err != nil {
		return Decision{Reject: reject(ReasonUnexpected, fmt.Sprintf("Unexpected error while attempting to recover from admission failure: %v", err))}
	}
	return Decision{Preempt: victims, Short: short[0].Name}
}

// hopeless is what no preemption can help against.
func hopeless(p *corev1.Pod, node Node) *Rejection {
	// The kubelet compares a label of the pod here, not its node selector, and
	// believes no label of the node that says something else than the truth.
	if wanted, labelled := p.Labels[corev1.LabelOSStable]; node.Object != nil && labelled && wanted != nodeOS {
		return reject(ReasonOSLabel, "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label")
	}
	if p.Spec.OS != nil && string(p.Spec.OS.Name) != nodeOS {
		return reject(ReasonOSField, "Failed to admit pod as the OS field doesn't match node OS")
	}
	if sc := p.Spec.SecurityContext; sc != nil && sc.SupplementalGroupsPolicy != nil &&
		*sc.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict && !node.SupplementalGroupsPolicy {
		return reject(ReasonSupplementalGroups, fmt.Sprintf("SupplementalGroupsPolicy=%s is not supported in this node", corev1.SupplementalGroupsPolicyStrict))
	}
	return nil
}

// misplaced is everything that says that the pod does not belong on this node.
func (r *Rules) misplaced(p *corev1.Pod, static bool, others []*Tenant, node Node) []*Rejection {
	var all []*Rejection
	add := func(is bool, rule, why string) {
		if is {
			all = append(all, reject(rule, fmt.Sprintf("Predicate %s failed: %s", rule, why)))
		}
	}
	add(!affine(p, node.Object), ReasonNodeAffinity, "node(s) didn't match Pod's node affinity/selector")
	name := node.name()
	add(p.Spec.NodeName != "" && name != "" && p.Spec.NodeName != name, ReasonNodeName, "node(s) didn't match the requested node name")
	add(portsTaken(p, others), ReasonNodePorts, "node(s) didn't have free ports for the requested pod ports")
	add(!static && !r.tolerates(p, node.Object), ReasonTaintToleration, "node(s) had taints that the pod didn't tolerate")
	return all
}

// affine reports whether the node is one that the pod's node selector and its
// required node affinity ask for. Terms that make no sense match no node.
func affine(p *corev1.Pod, node *corev1.Node) bool {
	if node == nil {
		return true
	}
	if len(node.Labels) > 0 && node.Labels[corev1.LabelOSStable] != nodeOS {
		// Somebody changed the label; the agent will change it back.
		corrected := *node
		corrected.Labels = maps.Clone(node.Labels)
		corrected.Labels[corev1.LabelOSStable] = nodeOS
		node = &corrected
	}
	matches, err := nodeaffinity.GetRequiredNodeAffinity(p).Match(node)
	return matches && err == nil
}

// tolerates reports whether the pod may stay despite the node's taints. Those
// that only keep pods from being scheduled are not the node's business.
func (r *Rules) tolerates(p *corev1.Pod, node *corev1.Node) bool {
	if node == nil {
		return true
	}
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		if taint.Effect == corev1.TaintEffectNoExecute && !r.tolerated(p, taint) {
			return false
		}
	}
	return true
}

func (r *Rules) tolerated(p *corev1.Pod, taint *corev1.Taint) bool {
	for i := range p.Spec.Tolerations {
		if p.Spec.Tolerations[i].ToleratesTaint(logr.Discard(), taint, r.features.TaintTolerationComparisonOperators) {
			return true
		}
	}
	return false
}

func (n Node) name() string {
	if n.Object != nil {
		return n.Object.Name
	}
	return n.Name
}

// allocatable is nil when nothing is known of the node.
func (n Node) allocatable() corev1.ResourceList {
	switch {
	case n.Allocatable != nil:
		return n.Allocatable
	case n.Object == nil:
		return nil
	case n.Object.Status.Allocatable == nil:
		return corev1.ResourceList{}
	}
	return n.Object.Status.Allocatable
}
