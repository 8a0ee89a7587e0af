// Package image is the volume type image: the files of an OCI image or artefact
// (KEP-4639).
//
// Owns: nothing on the node. The image is made present like a container's own,
// and the runtime mounts it when it makes the container.
// Consumes: pod specs.
// Publishes: a volume that has no path on the node and is read-only.
package image
