// Package archtest fails when the code leaves its shape: when an import points
// the wrong way, a pure package touches the machine, or a package does not say
// what it is for.
//
// Owns: the table of layers (layers_test.go), which is the architecture.
// Consumes: the source of internal/ and cmd/. What is below test/ is free, and so
// are _test.go files, except for their length.
// Publishes: nothing; it has tests only.
//
//	layer 0  pod                                     the words
//	layer 1  lifecycle/plan podstatus ...            decisions, pure
//	layer 2  cri volume image ... lifecycle ...      the machine; siblings are strangers
//	layer 3  agent                                   wiring
//	         cmd                                     agent and config only
package archtest
