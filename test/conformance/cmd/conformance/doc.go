// Command conformance runs upstream's conformance tests on a bed and compares
// with what the upstream kubelet does. "make conformance" calls it.
//
// Owns: the command line. Consumes: package conformance and its lists. Publishes:
// the table of results; its exit status is the verdict.
package main
