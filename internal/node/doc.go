// Package node keeps the Node object true: it registers the node, posts its
// status and renews its lease.
//
// Owns: the Node's status fields and conditions that a node agent sets, the
// node's lease, and the knowledge of whether the container runtime is up.
// Consumes: facts of the machine, what the runtime says of itself, images and
// health checks of other packages.
// Publishes: [Registrar.Snapshot], what decisions about pods may know of the
// node, and node events.
//
//	machine facts ───────────────┐
//	runtime ─watch─> RuntimeState ┼─> Build (pure) ─> patch of nodes/status
//	images, checks, pressure ────┤        │
//	prior Node (watch) ──────────┘        └─> events
//	runtime ─watch─> Snapshot ─> pod workers
//
// Three loops do not wait for each other: the runtime's watch, which also
// publishes the snapshot; the status loop, which may be stuck behind an API
// server that does not answer; and the lease, with a client of its own.
package node
