// Package claim finds the PersistentVolumes behind the claims of pods.
//
// Owns: the rules a claim and its volume have to keep for a pod to get them.
// Consumes: claims and volumes, read one by one from the API server, and the
// node's labels.
// Publishes: [Finder], which is a volume.Claims, and what the types of volumes
// read from a PersistentVolume in the same way: [MountOptions], [Group].
//
// Nothing is remembered: a claim is looked up each time its pod's volumes are
// set up, so that what was missing a moment ago is found when it is there.
package claim
