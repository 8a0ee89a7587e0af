// Package events tells users what happened to their pods and nodes.
//
// Owns: the way from an event to the API server, on which the status that says the
// same goes first: aggregation, rate limits and retries are client-go's recorder.
// Consumes: reasons and messages from workers and the node.
// Publishes: corev1 Events with the kubelet's component name and field paths;
// without an API server, log lines.
package events
