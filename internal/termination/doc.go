// Package termination keeps the files in which containers say why they ended.
//
// Owns: <root>/pods/<uid>/containers/<container>/<8 hex digits>, one file for each
// instance of a container, which the runtime shows to it at its
// terminationMessagePath. They go with the pod's directory, which is package
// volume's.
// Consumes: the node's root directory, and the tail of a log.
// Publishes: [Files].
//
// The files are written by containers, as are all the directories of a pod that
// are its volumes: no symlink is followed, nothing but a regular file is read, and
// of it no more than the Kubernetes API lets a message be.
package termination
