// Package hostpath is the hostPath volume: a file or directory of the node, as
// it is.
//
// Owns: nothing. It may create an empty directory or file when the volume's type
// says so, and never removes one.
// Consumes: the path and type of a volume, or of the PersistentVolume behind a claim.
// Publishes: a [volume.Plugin].
package hostpath
