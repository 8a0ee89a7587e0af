// Package grpc probes with the health protocol of gRPC (grpc.health.v1).
//
// Owns: the connection of a probe while it runs; each probe has its own.
// Consumes: the network.
// Publishes: [Probe].
package grpc
