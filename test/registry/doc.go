// Package registry tests pulls from registries that refuse, fail, break off and
// are slow: what pods wait with, what users are told, when it is tried again, and
// who may use what was pulled. The tests are built with -tags e2e and need root.
//
// Owns: registries on loopback, with faults on demand (see faulty).
// Consumes: test/bed; package pullrecord, to read and write what either agent
// remembers.
// Publishes: nothing.
//
// Every test holds for nodeagent and for the upstream kubelet
// (NODEAGENT_BED_AGENT=kubelet), but where it says so.
package registry
