// Package ownership gives the files of a volume to a pod's fsGroup.
//
// Owns: the walk through a volume, and what it changes: groups, and permission
// bits that are added, never taken.
// Consumes: a directory whose content nobody vouches for. Containers may rename,
// link and mount in it while the walk goes on.
// Publishes: [Apply].
//
// The walk goes from one open directory to the next. The kernel is asked to
// follow no symlink and to cross no mount, so that nothing outside the volume is
// ever reached, and nothing but directories is opened. It holds a bounded number
// of descriptors and names, whatever the tree is like. The volume's own directory
// comes last, since it is what the policy OnRootMismatch goes by.
package ownership
