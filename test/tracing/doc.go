// Package tracing checks that an agent sends the traces that its configuration asks
// for, under either agent.
//
// Owns: a collector of spans, and what a pod's start has to look like there.
// Consumes: test/bed; build tag e2e.
package tracing
