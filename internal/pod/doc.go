// Package pod is the vocabulary of the agent: what a pod is wanted to be, what
// the runtime shows of it, what was tried and failed, and what readers may see.
//
// Owns: the types every other package speaks in, and small pure methods on them.
// Consumes: nothing but the Kubernetes API types.
// Publishes: [Input] (all that a decision may depend on) and [View] (all that
// a reader may see).
//
// Values are immutable once handed to somebody else. Nothing here does I/O,
// reads a clock or starts a goroutine.
//
//	sources ── *v1.Pod ──┐
//	stops   ── Stop ─────┤
//	runtime ── Observation┼─> Input ──> plan.Next ──────> actions
//	own work ── Attempt,  │         └─> podstatus.Compute ─> v1.PodStatus
//	           Operation ─┘                                     │
//	                         View  <───── snapshot ─────────────┘
package pod
