// Package apiserver is the source of the pods that the API server has bound to
// this node.
//
// Owns: the watch of these pods and the copy of them that the watch keeps.
// Consumes: list and watch of pods with spec.nodeName=<node>.
// Publishes: the full set after the first list and after each burst of changes.
//
//	list/watch ─> reflector ─trim─> store ──changed──> Run ─> full set
//
// Mirror pods are left out: they are what the API server shows of static pods,
// which another source wants. While the API server is away nothing is sent, so
// the last set stays in force.
package apiserver
