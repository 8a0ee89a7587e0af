// Package e2e tests the agent as its users have it: real API server,
// controllers and scheduler, real containerd, real processes. The tests are
// built with -tags e2e and need root.
//
// Owns: what must hold for a cluster's users.
// Consumes: test/bed.
// Publishes: nothing.
//
// Every test holds for the upstream kubelet too where the two claim to be the
// same: NODEAGENT_BED_AGENT=kubelet go test -tags e2e ./test/e2e runs it there,
// and tests of what only nodeagent has say so and are skipped by name.
package e2e
