// Command cridiff runs the corpus of package cridiff outside of its test: on a
// bed, or on any node whose agent is told to use this command as its runtime,
// such as one with cgroup v2 in a virtual machine.
//
// Owns: the command line. Consumes: packages cridiff and bed. Publishes: a file
// for each agent, and the comparison of two.
package main
