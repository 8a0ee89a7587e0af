// Package security attacks the node API (port 10250) of a real agent: requests
// without or with the wrong credentials, paths and framings that mean two
// things, clients that are slow, many or huge, and files that somebody in a
// container could have swapped. The tests are built with -tags e2e and need
// root.
//
// Owns: what the node API must never give away, and what it must survive.
// Consumes: test/bed.
// Publishes: nothing.
//
// Every test holds for the upstream kubelet too, with the same status and the
// same words: NODEAGENT_BED_AGENT=kubelet go test -tags e2e ./test/security
// runs it there. Where nodeagent is stricter on purpose the test says so and
// asserts what each of the two does.
package security
