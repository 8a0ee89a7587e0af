// Package gitrepo is the gitRepo volume: a directory that is filled once with
// what a git repository holds, and is the pod's from then on.
//
// Owns: volumes/kubernetes.io~git-repo/<volume> of every pod.
// Consumes: the volume's repository, revision and directory; what a git server
// answers over http, https or git, none of which is trusted.
// Publishes: a [volume.Plugin], which refuses every volume unless [Config] says
// otherwise, in the kubelet's words.
//
// No program is run and no hook, filter or setting of the repository has any
// effect: the protocol, the pack and the working tree are read and written here
// (docs/adr/0012). The network, the pack and the tree are bounded by [Limits].
package gitrepo
