// Package podlogs keeps the log files of pods where log shippers expect them, and
// reads them for those who ask the node.
//
// Owns: the directories below /var/log/pods and the symlinks in
// /var/log/containers, and the watch that wakes up who follows a log. The runtime
// writes the files, package rotate rotates them. Rotated files that somebody has yet
// to read are kept open here.
// Consumes: identities of pods and containers, and whether a container has ended.
// The paths are those that containerspec tells the runtime.
// Publishes: the pods that have logs; logs in the form of the Kubernetes API.
//
//	<pods>/<namespace>_<pod>_<uid>/<container>/<attempt>.log[.<rotated>[.gz]]
//	<links>/<pod>_<namespace>_<container>-<id>.log -> the file above
//
// No symlink below the two directories is ever followed: what lies there may be
// written by containers that mount them.
package podlogs
