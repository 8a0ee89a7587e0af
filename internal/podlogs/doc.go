// Package podlogs keeps the log files of pods where log shippers expect them.
//
// Owns: the directories below /var/log/pods and the symlinks in
// /var/log/containers. The runtime writes the files; rotation is not done here.
// Consumes: identities of pods and containers. The paths are those that
// containerspec tells the runtime.
// Publishes: the pods that have logs.
//
//	<pods>/<namespace>_<pod>_<uid>/<container>/<attempt>.log[.<rotated>]
//	<links>/<pod>_<namespace>_<container>-<id>.log -> the file above
//
// No symlink below the two directories is ever followed: what lies there may be
// written by containers that mount them.
package podlogs
