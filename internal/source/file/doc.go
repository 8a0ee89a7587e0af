// Package file is the source of static pods: manifests in a directory, or one
// manifest file.
//
// Owns: what a manifest means (defaults, identity, validation) and the list of
// manifests that are broken.
// Consumes: regular files of at most 10 MB, inotify events as hints and a
// rescan from time to time.
// Publishes: the full set of static pods, and [Source.Problems].
//
//	file ─read─> bytes ─decode─> Pod ─setDefaults─> uid ─identify─> validate ─> set
//
// The order matters. The UID is a hash over the pod with its defaults but
// without its node's name, exactly as the kubelet computes it: a node that
// changes from the kubelet to this agent keeps the containers of its control
// plane running. For the same reason a defaulting rule may only be changed
// together with the kubelet's.
//
// A field that is unknown or there twice does not keep a pod from running, since
// with the kubelet it does not either: the manifest is used, and the field is a
// problem marked as a warning.
//
// A manifest that breaks is usually one that is still being written. Its last
// good version stays in force for one rescan period; then the pod ends, as it
// would if the node started now.
package file
