// Package sourcetest checks that an implementation of [source.Source] keeps the
// contract that the rest of the agent relies on.
//
// Owns: the conformance suite [Run].
// Consumes: a [Harness] that knows how to change the world behind a source.
// Publishes: nothing but test results.
package sourcetest
