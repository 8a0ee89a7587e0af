// Package logs tests that the logs of containers are rotated as KubeletConfiguration
// says, and that nobody who reads them misses a line. The tests are built with
// -tags e2e and need root.
//
// Owns: what must hold for logs that grow.
// Consumes: test/bed.
// Publishes: nothing.
//
// What both agents are said to do alike is tested on both:
// NODEAGENT_BED_AGENT=kubelet go test -tags e2e ./test/logs. The other tests say so
// and are skipped there.
//
// TestFlood is short by default; the acceptance is "make logflood".
package logs
