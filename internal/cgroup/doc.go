// Package cgroup makes the cgroups that pods live in, and removes them.
//
// Owns: <root>/kubepods and what is below it, on every cgroup v1 hierarchy or
// in the v2 one, directly (driver cgroupfs) or through systemd.
// Consumes: pod specs to make and limit a pod's cgroup; nothing but a UID and
// the cgroup file systems to remove it.
// Publishes: [pod.Grant], the parent that CRI is given, and the UIDs that have a
// cgroup.
//
//	cgroupfs   /kubepods[/burstable|/besteffort]/pod<uid>
//	systemd    /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice
//
// name.go and resources.go are pure. The rest touches the machine and is for
// Linux.
package cgroup
