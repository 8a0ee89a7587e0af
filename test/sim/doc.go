// Package sim runs the agent's core, whole, against a runtime, a disk and an
// API server in memory, so that a test can do to it what it likes: break every
// call, kill it at any instant, let an hour pass in a millisecond.
//
// Owns: the disk and the API server that outlive the agent.
// Consumes: test/fakecri (real CRI over real gRPC), the agent's own CRI client,
// PLEG, supervisor and workers.
// Publishes: [Sim], to be used inside a testing/synctest bubble.
package sim
