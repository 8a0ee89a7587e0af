// Package latency measures how soon an agent tells what happened, and what many
// probes cost it: nodeagent and the upstream kubelet one after the other in one
// run, side by side. The tests are built with -tags e2e and need root.
//
// Owns: the limits of nodeagent's delays, and what its probes may miss.
// Consumes: test/bed.
// Publishes: nothing.
//
// Without arguments the tests are short, run on the agent of beds only
// (NODEAGENT_BED_AGENT) and judge no delays. The acceptance is
//
//	go test -tags e2e -timeout 15m -run TestLatency -v ./test/latency -args -compare
//	go test -tags e2e -timeout 20m -run TestProbeLoad -v ./test/latency -args -compare -for=3m
//
// With -print nothing is judged. What another program does on the machine at the
// time is in the figures of both agents; the delay of the API alone is measured
// too.
package latency
