// Package safedir opens directories and files below a root without following a
// symlink.
//
// Owns: the walk from a root directory, step by step, to what lies below it.
// Consumes: a root that is the administrator's, and names that come from outside.
// Publishes: [Dir], an open directory, which stays the same whatever happens to its
// path; what is read and written in it is a regular file, or [ErrNotPlain].
//
// An os.Root is not enough where one pod must not reach what is another's: it
// follows symlinks as long as they stay below the root.
package safedir
