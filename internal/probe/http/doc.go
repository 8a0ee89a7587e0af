// Package http probes with a GET request.
//
// Owns: the connections of a probe while it runs; each probe has its own.
// Consumes: the network.
// Publishes: [Probe].
//
// The target is not trusted: the sizes of headers and body, the number of
// redirects and the time are limited.
package http
