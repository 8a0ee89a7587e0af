// Package lifecycle tests what becomes of pods and their containers between
// creation and deletion: start order, probes, hooks, restarts, termination and
// the status that users read meanwhile. The tests are built with -tags e2e and
// need root.
//
// Owns: what must hold for the life of a pod.
// Consumes: test/bed.
// Publishes: nothing.
//
// Every test holds for nodeagent and for the upstream kubelet, which is what
// says what is right: NODEAGENT_BED_AGENT=kubelet go test -tags e2e
// ./test/lifecycle. The tests follow each pod through watches that begin before
// it is created, so also what holds for a moment only is seen, as far as it was
// written to the API server.
package lifecycle
