// Package answer has the words in which a probe's handler reports.
//
// Owns: [Answer] and [Result].
// Consumes: nothing.
// Publishes: what package probe and its handlers have in common.
package answer
