// Package checkpoint reads and writes small state files in the kubelet's format:
// JSON with a checksum, replaced as a whole.
//
// Owns: the format, {"data": "<JSON>", "checksum": <FNV-1a of a dump of data>}.
// Consumes: a path and what is to be in the file.
// Publishes: files that the kubelet reads, and what it has written.
package checkpoint
