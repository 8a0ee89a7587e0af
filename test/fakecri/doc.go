// Package fakecri is a container runtime in memory that speaks real CRI over
// real gRPC, for tests.
//
// Owns: sandboxes, containers and images that exist only here, a journal of
// every effect, and checks of what must never happen to a runtime.
// Consumes: CRI requests, over an in-memory listener or a unix socket.
// Publishes: [Server.Dial], [Server.Calls], [Server.Journal], [Server.Violations], [Server.Snapshot].
//
// It behaves as containerd does where a node agent can tell: names are reserved
// per attempt, StopContainer sends TERM and after the timeout KILL, stopping a
// sandbox kills its containers, a failed start leaves an exited container.
// Time is plain package time, so inside a testing/synctest bubble a test of
// hours runs in milliseconds. After [Server.Close] no goroutine is left.
//
//	cri.Client ──gRPC──> fault? ──> state ──> journal ──> Violations
//	      ^                           │
//	      └──── GetContainerEvents <──┘ (lost, doubled, late on request)
package fakecri
