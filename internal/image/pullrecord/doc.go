// Package pullrecord remembers which pods may use the images that were pulled to
// the node, so that an image from a private registry is not for every pod of the
// node (KEP-2535, "ensure secret pulled images").
//
// Owns: the files in image_manager below the agent's root directory, in the
// kubelet's format, so that either agent goes on with what the other wrote:
//
//	pulling/sha256-<of the image as pods name it>   an ImagePullIntent
//	pulled/sha256-<of the image's ID>               an ImagePulledRecord
//
// Consumes: what the puller tells it (package image); a list of the images on the
// node, at the start and whenever images were collected.
// Publishes: whether a pod has to pull an image that is there (it implements
// [nodeagent.dev/nodeagent/internal/image.Records]).
//
// An intent is on the disk before its pull begins, and goes only when a record
// says how the pull ended, or when it is sure that it left nothing: an image for
// which there is neither has come to the node in another way. Where something
// cannot be known (a file that is garbage, a pull that a crash cut off) pods have
// to show that they may have the image.
//
// Nothing is locked for looking: who looks reads the intent before the record,
// who writes makes the record before the intent goes.
package pullrecord
