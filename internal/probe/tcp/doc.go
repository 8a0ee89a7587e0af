// Package tcp probes by opening a connection.
//
// Owns: nothing; each probe is one call.
// Consumes: the network.
// Publishes: [Probe].
package tcp
