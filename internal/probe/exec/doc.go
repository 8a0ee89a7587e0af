// Package exec probes by running a command in the container.
//
// Owns: nothing; each probe is one call.
// Consumes: the container runtime, through the port [Runner].
// Publishes: [Probe].
package exec
