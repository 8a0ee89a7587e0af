// Package bedtest is what tests on beds have in common: a bed that the tests of
// a package share, and pods to put there.
//
// Owns: nothing that outlives a test run.
// Consumes: package bed.
// Publishes: helpers that fail the test they are called from.
package bedtest
