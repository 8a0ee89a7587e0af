// Package allocation decides what the node takes and what it gives: whether a pod
// may run here, and with which resources (KEP-1287).
//
// Owns: <root>/allocated_pods_state, what each pod has been allocated, and
// <root>/actuated_pods_state, what its containers were given last, both in the
// kubelet's format.
// Consumes: [admission.Rules], what is known of the node, and the other pods.
// Publishes: [pod.Admission] and [pod.Actuation].
//
// A pod runs with what it has been allocated. That follows its spec when the node
// has room for it; until then, and if it never has, the pod keeps what it has.
package allocation
