// Package podstatus computes the status of a pod as users see it. It is pure:
// the same [pod.Input] always gives the same status.
//
// Owns: phases, conditions, container states, and the words for them, as the
// kubelet of Kubernetes 1.37 has them.
// Consumes: [pod.Input].
// Publishes: a [corev1.PodStatus], normalised so that equal states are equal
// values.
//
// One rule shapes the package: what was published stays true. A terminal phase
// is never left, a container that ended stays ended when the runtime forgets
// it, an address is kept after the sandbox is gone, and a condition's time
// changes only with its status.
package podstatus
