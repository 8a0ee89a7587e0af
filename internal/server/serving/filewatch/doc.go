// Package filewatch says when what some file names lead to may have changed.
//
// Owns: the watches of the kernel, for the time of one Run.
// Consumes: paths, and hints that somebody else has changed something.
// Publishes: calls of a function that reads the truth again.
//
// Certificates are handed over in more than one way: written in place, renamed
// over, or swapped by a symbolic link somewhere in the path, as mounted secrets
// and certificate tools do. A watch of the file itself does not see the last
// one. So every directory is watched in which a link of the path, or the file,
// has its name. What no watch tells is found by looking again at intervals.
package filewatch
