// Package monitoring tests that those who watch nodes find of an agent what they
// know of the kubelet: a real metrics-server and kubectl top, the autoscaler of
// kube-controller-manager, and a real Prometheus. The tests are built with
// -tags e2e and need root.
//
// Owns: what must hold for the consumers of a node's figures.
// Consumes: test/bed, metrics-server from its module, Prometheus from Debian.
// Publishes: nothing.
//
// What is expected is what the upstream kubelet does, so every test holds there,
// too: NODEAGENT_BED_AGENT=kubelet go test -tags e2e ./test/monitoring.
package monitoring
