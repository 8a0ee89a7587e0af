// Package rotate keeps the logs of running containers from growing: a log that has
// reached its size gets another name, the runtime opens a new one, and of those
// that were rotated a few are kept, compressed.
//
// Owns: when a log is rotated, the names of rotated files, and what is kept.
// Consumes: which containers run; the runtime's verb that reopens a log; a wake-up
// when something is written; what readers have not read yet.
// Publishes: nothing but the files.
//
//	0.log                        what the runtime writes
//	0.log.20260102-030405        rotated last, as it was
//	0.log.20260102-030000.gz     rotated before that
//	0.log.20260102-030000.tmp    is being compressed
//
// Names, order and number are the kubelet's (pkg/kubelet/logs). A second rotation
// within a second adds _001 to the time, which sorts behind it.
//
// A log at rest costs nothing: it has a watch that fires once. One that was
// written to is looked at when it may be full at the rate that was seen. The
// directory is the state: whatever was cut off is found again by looking at it.
//
// No symlink below the directory of pods is followed. What lies there may be
// written by containers that mount it.
package rotate
