// Package image makes images present on the node.
//
// Owns: the pulls in flight. One pull of an image serves everybody who asks for
// it meanwhile; it goes on as long as one of them still wants it.
// Consumes: an image service (the runtime), through the port [Service].
// Publishes: the image a container can be made from, or a [pod.Failure] with the
// kubelet's words; [Puller.Waiting] for whoever explains why a pod waits.
//
// Nothing is retried here: the planner backs off and asks again.
package image
