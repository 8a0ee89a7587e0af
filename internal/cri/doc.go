// Package cri speaks with the container runtime over its gRPC interface and
// answers in the words of package pod.
//
// Owns: the connections to the runtime, their deadlines and retries, and a
// per-pod cache of statuses that cannot change any more.
// Consumes: the runtime's socket, [containerspec] for the messages.
// Publishes: [Client], which satisfies the ports that lifecycle, image, node
// and pleg declare.
//
// Every verb is idempotent: what is already so is success. Replies are not
// trusted: objects without an ID, of another pod, or with numbers that make no
// sense never get past the conversion.
//
//	lifecycle, image, pleg ──> Client ──┬─ runtime endpoint ──> containerd
//	                            │       └─ image endpoint ────> containerd
//	                            └─ statuses that will not change (Forget)
package cri
