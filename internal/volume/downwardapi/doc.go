// Package downwardapi is the downwardAPI volume: files that tell a pod about itself,
// and follow its labels and annotations.
//
// Owns: volumes/kubernetes.io~downward-api/<volume> of every pod, and the tmpfs on it.
// Consumes: the pod; what the node can give, for limits that are not set.
// Publishes: a [volume.Live].
package downwardapi
