// Package secret is the secret volume: files from a Secret, which follow it and are
// never written to a disk.
//
// Owns: volumes/kubernetes.io~secret/<volume> of every pod, and the tmpfs on it.
// Consumes: the Secret, through [Objects]; the pod's memory limits.
// Publishes: a [volume.Live].
package secret
