// Package source says where pods come from and combines what the sources want.
//
// Owns: the [Source] port, the pure [Merge] and its runner [Run].
// Consumes: full sets of pods, one stream per source.
// Publishes: [pod.Desired], the newest view of all sources together.
//
//	apiserver ── []*v1.Pod ──┐
//	file ─────── []*v1.Pod ──┼─> Merge (pure) ─> Desired ─> supervisor
//	...          ────────────┘
//
// A source always sends everything it wants. Nobody has to remember deltas, and
// a consumer that was slow loses nothing by taking only the newest set. The
// sources live in folders beside this file; sourcetest checks that each of them
// keeps the contract.
package source
