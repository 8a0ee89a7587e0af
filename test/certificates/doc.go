// Package certificates tests how an agent gets, keeps and regains its
// certificates, with the real approver and signer of a control plane whose
// certificates live for two minutes. The tests are built with -tags e2e and need
// root.
//
// Owns: what must hold for bootstrap, rotation, serving certificates, client CAs,
// and for nodes whose certificate has expired.
// Consumes: test/bed.
// Publishes: nothing.
//
// What is expected is what the upstream kubelet does, so the tests hold there,
// too: NODEAGENT_BED_AGENT=kubelet go test -tags e2e ./test/certificates. Those
// about expired certificates do not (docs/adr/0015) and are skipped by name.
//
// One rotation is tried by default; the acceptance is "make certs", which is
//
//	go test -tags e2e -run TestRotation ./test/certificates -args -rotations=10
package certificates
