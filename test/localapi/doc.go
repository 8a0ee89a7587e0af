// Package localapi tests what an agent offers beside logs and streams: the sockets
// for programs of the node (podresources, the pods API), and the smaller paths of
// the node's port: checkpoints, queries of logs, pages about the program. The
// tests are built with -tags e2e and need root.
//
// Owns: what must hold for the users of these.
// Consumes: test/bed.
// Publishes: nothing.
//
// What is expected is what the upstream kubelet does, so every test holds there,
// too: NODEAGENT_BED_AGENT=kubelet go test -tags e2e ./test/localapi. What differs
// says so. The machine's journal is not asked: a journalctl of the test shows what
// the agent asks of it.
package localapi
