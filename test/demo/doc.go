// Command demo shows nodeagent at work on this machine, without a cluster: it
// starts containerd and nodeagent, gives them the pods of deploy/demo, shows
// how they come up, and leaves them running until `demo down`.
//
//	up:   bed (standalone) --> manifests --> watch until Ready --> tables, what to try next
//	down: bed down, nothing is left
//
// Owns: the bed named "demo" and what is said to people about it.
//
// Consumes: package bed for the node, package inspect for what the agent shows
// on its socket.
//
// Publishes: text on standard output; the exit status 1 when a pod does not
// become ready in time.
package main
