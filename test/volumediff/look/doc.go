// Command look tells what a container sees of its volumes. It is the program of
// the pods of package volumediff.
//
//	look PATH...
//
// It writes one fact a line, as a JSON object of a key and a value:
//
//	process            who the container runs as
//	mount[PATH].*      a mount point: options, type, source, propagation
//	writable[PATH]     whether the named path may be written to
//	entry[PATH]        something at or below a named path: type, mode, owner,
//	                   content or target
//
// What is random by nature is told by its shape: the claims of a token, the
// blocks of a file with a private key, a set of certificates without its order.
//
// Owns: nothing. Consumes: nothing.
// Publishes: the lines, for package volumediff to read.
package main
