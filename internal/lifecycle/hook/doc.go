// Package hook runs lifecycle handlers: what a container wants done right after
// its start (postStart) and right before its end (preStop).
//
// Owns: the requests of httpGet handlers, from the connection to the end of the
// answer, and the words in which a handler's failure is told.
// Consumes: the runtime for commands ([Exec]) and a recorder ([Events]).
// Publishes: [Runner].
//
// When to run a handler, what its failure leads to, and how long it may take is
// the caller's to decide; the time by the context. Nothing goes on after [Runner.Run]
// has returned.
//
// What answers a request is the container, and not to be trusted: of an answer no
// more than 10 KiB is read, and of what a command says no more is told.
package hook
