// Package status takes pod statuses to the API server.
//
// Owns: what was sent for each pod and what is still to be sent.
// Consumes: [Writer.Publish] from the workers: the newest status of a pod, and
// whether anything of it is left on the node.
// Publishes: PATCHes of pods/status, and the DELETE that ends a pod's object.
//
// The newest status wins: what was overtaken is never sent, and what is about to be
// overtaken, a step of a start or an end that goes well, waits a moment (docs/adr/0016).
// Pods are served in
// parallel and each pod in order. No GET precedes a PATCH: the base is the last
// object seen, in the watch or in the answer to our own PATCH, and the pod's
// UID is the precondition. An API server that is away costs a few requests a
// second, whatever the number of pods, and loses nothing.
package status
