// Package stats tests what a node tells of the use of its pods, on real components
// and under either agent: /stats/summary and /metrics/resource.
//
// Owns: pods that use known amounts, each test with its own.
// Consumes: test/bed; the node's API through the API server's proxy.
// Publishes: nothing; its tests have the build tag e2e.
package stats
