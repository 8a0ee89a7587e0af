// Package admission decides whether a node takes a pod that was bound to it.
//
// Owns: the rules by which a node refuses, in the kubelet's order and words
// (Kubernetes 1.37), and the choice of pods that make room for a critical one.
// Consumes: pods and the [Node] as the API has them, and a [Config].
// Publishes: a [Decision]: take it, take it once others are gone, or refuse it
// with the reason and message users see.
//
// Everything is a pure function: no I/O, no clock, no logging. What depends on
// the moment is asked elsewhere: pressure on the node (before these rules),
// devices and pinned CPUs (after the sysctls), a shutdown (after all).
//
//	pod, other pods ─┐
//	                 ├─> Rules.Admit ─> Decision{Reject | Preempt}
//	Node ────────────┘
package admission
