// Package inspect shows people what the agent does with its pods.
//
// Owns: the read-only unix socket, the form in which pods are shown on it, and
// the tables `nodeagent pods` and `nodeagent why` print.
// Consumes: snapshots ([pod.View]).
// Publishes: JSON on GET /v1/pods, to whoever may open the socket (root).
//
// What is shown is chosen here, field by field: no environment, no command, no
// annotation leaves the agent this way.
package inspect
