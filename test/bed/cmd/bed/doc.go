// Command bed starts and stops test beds for people: a node with real
// components around nodeagent or the upstream kubelet.
//
// Owns: the command line. Consumes: package bed. Publishes: a running bed and
// how to use it; `bed keeper` is the process that package keeper describes.
package main
