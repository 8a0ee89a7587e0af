// Package reading reads a volume that follows an object, as an application does
// that wants two of its files to fit together, and counts what it should never
// see.
//
// # What may be relied on
//
// The content of such a volume changes as a whole: each state is a directory of
// its own (a generation), ..data is a symlink to the newest, and the names that
// users see are symlinks through ..data. So
//
//   - a name that is in every state is there at every moment: opening it never fails;
//   - a file that is open shows one state, whole;
//   - two files belong to one state if ..data was resolved once and both were
//     opened from the directory found there. Two files opened by their own names
//     may be of two states, whoever updates them: that is not torn.
//
// A generation may be deleted once it is not the newest. A reader who holds it
// while that happens is [Tally.Overtaken] and begins again; a file that is not in
// the newest generation is [Tally.Missing].
//
// Owns: nothing.
// Consumes: a volume's directory, on the node or in a container.
// Publishes: Pairs, and the form of values that can be checked.
package reading
