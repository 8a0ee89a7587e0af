// Package userns gives pods with hostUsers: false ranges of user and group IDs of
// their own (KEP-127).
//
// Owns: <root>/pods/<uid>/userns, the range of a pod in the kubelet's format, and
// which ranges are taken. The files go with [Ranges.Forget], else with the pod's
// directory, which is package volume's.
// Consumes: the IDs that the node has for pods (those of the user "kubelet" in
// /etc/subuid and /etc/subgid, as getsubids tells them), and the files of an earlier
// run, of this agent or of a kubelet.
// Publishes: [Ranges.Ensure], a pod's range; [Supported], whether a runtime can do it.
//
// Two pods never have an ID in common. What cannot be told apart is not handed out: a
// file that says something impossible, or something that another file says too, is
// refused for the pods concerned, with what to do about it. Other pods go on.
package userns
