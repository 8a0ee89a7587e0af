// Package stats tells what the node, its pods and their containers use, when
// somebody asks.
//
// Owns: reading cgroups (v1 and v2), /proc and the network devices of pods; the
// figures of the last reads, from which rates are made.
// Consumes: snapshots of pods (Pods), what the runtime says of images and of
// writable layers (Runtime), how full volumes are (Volumes).
// Publishes: [Row] values, one of each cgroup; the summary and the resource metrics
// of the kubelet made from them.
//
// Nothing runs while nobody asks: there is no goroutine and no timer. Reads of
// several clients within a second share one result.
//
// What a pod can write or name is not trusted: files are read up to a bound, a
// number that is none is left out, and a cgroup or a mount that hangs costs its own
// figures only.
package stats
