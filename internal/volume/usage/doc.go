// Package usage tells how much volumes hold, for statistics and for eviction.
//
// Owns: what was measured last of each volume, and the one goroutine that walks
// through directories.
// Consumes: paths of volumes; statfs, project quotas, directories.
// Publishes: [Meter.Usage], figures as the kubelet's: blocks of 512 bytes and
// inodes, hard links once, and the age of what had to be counted.
//
// Nothing is walked on a timer. A file system that is the volume's own is asked, and
// so is a project quota; only what is left is walked, when somebody wants to know
// and what is known has become old. All walks together take a share of one
// processor; they go round in slices, so that a large volume holds up no small one.
//
// A walk follows no symlink, crosses no mount and opens directories only. What a
// pod does to its volume meanwhile cannot lead it anywhere else, keep it busy for
// ever or make it take more memory than a bound.
package usage
