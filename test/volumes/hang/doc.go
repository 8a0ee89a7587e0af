// Package hang is a file system that takes its time: until it is told to answer,
// whoever looks at it waits in the kernel, as with a network file system whose
// server is gone. It speaks FUSE to the kernel and needs no program beside this
// one.
//
// Owns: one mount, and the requests that wait there.
// Consumes: /dev/fuse; root.
// Publishes: FS.
package hang
