// Package projected is the projected volume: files from several sources in one
// directory, the tokens of service accounts among them.
//
// Owns: volumes/kubernetes.io~projected/<volume> of every pod, a tmpfs.
// Consumes: ConfigMaps, Secrets and ClusterTrustBundles, tokens of service accounts
// and certificates of pods, all through ports; the pod's own fields.
// Publishes: a [volume.Live].
//
// Sources are read in their order; of two files of the same path the later one counts,
// as in the kubelet. All sources have to be there before anything is written.
package projected
