// Package cgroup makes the cgroups that pods live in, limits and removes them.
//
// Owns: <root>/kubepods and what is below it, on every cgroup v1 hierarchy or
// in the v2 one, directly (driver cgroupfs) or through systemd; the limits of the
// daemons' cgroups (kubeReservedCgroup, systemReservedCgroup), which others make.
// Consumes: pod specs to make and limit a pod's cgroup; nothing but a UID and
// the cgroup file systems to remove it; what of the node is reserved.
// Publishes: [pod.Grant], the parent that CRI is given, the UIDs that have a
// cgroup, and the limits and the memory in use that were found.
//
//	cgroupfs   /kubepods[/burstable|/besteffort]/pod<uid>
//	systemd    /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice
//
// name.go, limits.go, memoryqos.go and node.go are pure. The rest touches the
// machine and is for Linux.
package cgroup
