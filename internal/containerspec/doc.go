// Package containerspec works out what the runtime is asked for: the CRI
// messages of a sandbox and of a container, from a pod and what the node grants.
//
// Owns: labels, annotations, names, paths and formulas that other programs read
// off the node (a kubelet that takes over, log shippers, crictl, monitoring).
// They equal the kubelet's of Kubernetes 1.37 bit for bit, so that swapping the
// agent under running pods restarts nothing.
// Consumes: requests of package pod and a [Node].
// Publishes: runtime API messages.
//
// Everything is a pure function: no I/O, no clock, no logging. What cannot be
// built is a [pod.Failure] with the reason users know.
//
//	pod.SandboxRequest ───┐
//	                      ├─ + Node ─> Sandbox / Container ─> CRI message
//	pod.ContainerRequest ─┘
package containerspec
