// Package bedtest is what tests on beds have in common: a bed that the tests of
// a package share, pods to put there, one watch for all pods, kills of the agent,
// and the search for what is left of pods that are gone.
//
// Owns: nothing that outlives a test run.
// Consumes: package bed.
// Publishes: helpers that fail the test they are called from.
package bedtest
