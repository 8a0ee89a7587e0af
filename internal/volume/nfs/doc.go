// Package nfs is the nfs volume: a directory of a server.
//
// Owns: the mount in each pod's directory.
// Consumes: the server and path of a volume, or of the PersistentVolume behind a
// claim; the mount command of the node, with its helper for nfs; to unmount, the
// mount table alone.
// Publishes: a [volume.Plugin].
//
// A server may be gone for good. What is mounted is never looked at, since that
// would not come back; a mount command that waits for it is killed when its context
// ends; and an unmount that does not return is followed by one that gives up what
// the server still owes, as the kubelet does, after a minute at the latest.
package nfs
