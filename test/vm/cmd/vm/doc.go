// Command vm runs a node in a machine of its own, for people: until Ctrl-C there
// is a cluster of one node with cgroup v2 and systemd.
//
// Owns: the command line. Consumes: package vm. Publishes: how to use the node
// while it runs.
package main
