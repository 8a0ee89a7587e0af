// Package endpoint finds out where a probe has to connect to, and connects.
//
// Owns: the rules for hosts and ports of probes; how probes dial.
// Consumes: a container's spec and its pod's address; the network.
// Publishes: [Address] and [Dial] for the handlers that use the network.
package endpoint
