// Package emptydir is the emptyDir volume: a directory that lives as long as its
// pod, on the node's disk or in memory.
//
// Owns: volumes/kubernetes.io~empty-dir/<volume> of every pod, and the tmpfs on
// it when the medium is Memory.
// Consumes: the volume's medium and size limit, the pod's memory limits and
// fsGroup.
// Publishes: a [volume.Plugin].
package emptydir
