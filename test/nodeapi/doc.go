// Package nodeapi tests the API that an agent serves on its node as users see
// it: kubectl logs, exec, attach, cp and port-forward, the node's proxy, and the
// port itself. The tests are built with -tags e2e and need root.
//
// Owns: what must hold for the users of a node's API.
// Consumes: test/bed.
// Publishes: nothing.
//
// What is expected is what the upstream kubelet does, so every test holds there,
// too: NODEAGENT_BED_AGENT=kubelet go test -tags e2e ./test/nodeapi. A test that
// does not says so and is skipped by name.
//
// TestLoad is short by default; the acceptance is
//
//	go test -tags e2e -timeout 20m -run TestLoad -v ./test/nodeapi -args -load=2m -followers=1000 -execs=200
package nodeapi
