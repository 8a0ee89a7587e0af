// Package configmap is the configMap volume: files from a ConfigMap, which follow it.
//
// Owns: volumes/kubernetes.io~configmap/<volume> of every pod, on the node's disk.
// Consumes: the ConfigMap, through [Objects].
// Publishes: a [volume.Live].
package configmap
