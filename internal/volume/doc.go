// Package volume sets up the volumes of pods on the node and takes them away.
//
// Owns: everything below <root>/pods/<uid>, in the kubelet's layout, and the
// mounts there.
// Consumes: pod specs to mount, and the disk and the mount table, never a spec,
// to unmount; one [Plugin] per volume type, listed in volume/builtin.
// Publishes: [pod.Volumes], where each volume is, and the UIDs that have a
// directory on the disk.
//
//	<root>/pods/<uid>/volumes/<plugin~name>/<volume>     a plugin's [Ref.Dir]
//	<root>/pods/<uid>/volume-subpaths/...                bind mounts of subPaths
//	<root>/pods/<uid>/{plugins,containers,etc-hosts,...} removed with the pod
//
// Every pod's work runs on goroutines of its own, one job per pod at a time, so
// that a mount which hangs holds up its own pod alone. A caller whose context
// ends leaves such a job behind; the next call for that pod waits for it.
package volume
