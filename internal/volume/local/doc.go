// Package local is the local PersistentVolume: a directory or a disk of the node.
//
// Owns: the mount of a disk at
// <root>/plugins/kubernetes.io/local-volume/mounts/<volume>, which all pods share,
// and the bind mounts of pods.
// Consumes: the PersistentVolume; to unmount, the mount table alone.
// Publishes: a [volume.Plugin].
//
// A volume is given to the pod's fsGroup before it is mounted for the pod, and only
// when no other pod has it: what is mounted is ready, also after a crash in between.
package local
