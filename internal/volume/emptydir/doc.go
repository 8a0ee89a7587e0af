// Package emptydir is the emptyDir volume: a directory that lives as long as its
// pod, on the node's disk, in memory or in huge pages.
//
// Owns: volumes/kubernetes.io~empty-dir/<volume> of every pod, and what is mounted
// on it: a tmpfs when the medium is Memory, a hugetlbfs when it is HugePages.
// Consumes: the volume's medium and size limit, the pod's memory limits, requests
// for huge pages and fsGroup.
// Publishes: a [volume.Plugin].
package emptydir
