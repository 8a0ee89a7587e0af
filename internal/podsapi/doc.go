// Package podsapi tells programs of the node which pods it has and how they are:
// the kubelet's pods API v1alpha1, on <root>/pods-api/pods-api.sock. Nothing can
// be changed there.
//
// Owns: the answers, the socket, those who watch, and the counters of calls.
// Consumes: snapshots of pods (Pods), and a call of Changed for each that is new.
// Publishes: its counters, as a prometheus.Collector.
//
//	worker ──Changed(uid)──> set of UIDs of each watcher ──> look at the pod, send
//	                         (never waits)                   what is new
//
// A watcher has at most the UIDs of the node's pods to remember, however slow it
// is: it is told how a pod is when it gets to it, and misses what was in between.
// The kubelet instead ends a watch that is a hundred events behind. Nobody who
// works on pods waits for a watcher.
package podsapi
