// Package lifecycle drives pods: one worker per pod observes, plans and acts.
//
// Owns: the map of pods to workers ([Supervisor]), the loop of one pod (worker),
// and the one place where a plan's actions become calls (executor).
// Consumes: [pod.Desired] from the sources, hints and listings from the PLEG,
// and the ports in ports.go, which wiring fills.
// Publishes: statuses to [StatusSink], events to [Recorder], and a [pod.View]
// per pod for whoever wants to look.
//
//	desired ──┐                      ┌── mailbox (newest wins) ──┐
//	hints  ───┼──> Supervisor ───────┼── hint (coalesced) ───────┼──> worker
//	listings ─┘    one goroutine     └── one goroutine per pod ──┘      │
//	                                                                    │
//	      ┌── observe ── plan.Next (pure) ── podstatus.Compute (pure) <─┤
//	      └─> operations: one goroutine per busy target, results ───────┘
//
// A worker owns everything that is decided about its pod; nothing else changes
// it, and there is no lock in this package. When the context ends, the worker
// waits for its operations and goes; everything it knew can be rebuilt from the
// runtime, the disk and the API.
package lifecycle
