// Package localsocket serves gRPC on a unix socket of the node, for programs of
// the node's owner.
//
// Owns: the socket file (made in place of a stale one, without following a
// symlink), the limits on who is connected and how often is called, and the end
// of all calls.
// Consumes: a path below a directory that is the administrator's, and services.
// Publishes: nothing.
//
// A socket that cannot be made is tried again for ever: pods matter more than it.
// The file stays when serving ends, as the kubelet's does: by then it may be
// another agent's, which has put its own in its place.
package localsocket
