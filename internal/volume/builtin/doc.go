// Package builtin is the one list of volume types.
//
// Owns: the list.
// Consumes: the packages of the types, each a folder beside this one.
// Publishes: the plugins, for the wiring.
package builtin
