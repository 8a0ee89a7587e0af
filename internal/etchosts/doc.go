// Package etchosts keeps the hosts files of pods.
//
// Owns: <root>/pods/<uid>/etc-hosts, one file for all containers of a pod, which
// the runtime shows to them at /etc/hosts. It goes with the pod's directory, which is
// package volume's.
// Consumes: the node's root directory and its own hosts file.
// Publishes: [Files].
//
// Running containers hold the file and may write to it: it is changed in place and
// never replaced, put right whenever another container of the pod is about to start,
// and left alone when it is right. No symlink is followed to it.
package etchosts
