// Package removed is the volume types that Kubernetes once had in the kubelet and
// that this agent does not set up.
//
// Owns: the words in which they are refused.
// Consumes: the sources of volumes and of PersistentVolumes.
// Publishes: a [volume.Plugin] that supports them all and mounts none.
//
// Of three kinds are they: types Kubernetes itself has dropped, refused as the
// kubelet does; types a CSI driver has taken over, for which the kubelet would ask
// that driver; and types the kubelet still has and this version leaves out.
package removed
