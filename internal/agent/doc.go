// Package agent wires the node agent: it builds every part, connects them, and
// runs them until the context ends.
//
// Owns: the order of start and stop, the clients, the log, and the process's
// outward signs (health, metrics, sd_notify, the inspection socket).
// Consumes: a [config.Config].
// Publishes: nothing; the parts do.
//
//	config ──> Run ──┬─ sources ──> Supervisor ──> workers ──> CRI, volumes, cgroups
//	                 ├─ PLEG ─────────^                └─────> status, events ──> API
//	                 ├─ node (registration, status, lease) ───────────────────────^
//	                 └─ health, metrics, inspection socket, sd_notify
//
// There is no root object: Run holds what it makes in local variables, and
// whatever needs another part gets it as a small port. Ending the agent ends no
// pod: SIGTERM and SIGKILL lead to the same restart.
package agent
