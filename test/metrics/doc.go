// Package metrics tests what an agent shows at /metrics and /metrics/probes: the
// families have the shape that was recorded of a kubelet, and what happens moves
// them. The tests are built with -tags e2e and need root.
//
// Owns: what must hold for whoever scrapes a node.
// Consumes: test/bed; the lists in internal/metrics/testdata.
// Publishes: nothing.
//
// Every test holds under the upstream kubelet, too:
// NODEAGENT_BED_AGENT=kubelet go test -tags e2e ./test/metrics.
package metrics
