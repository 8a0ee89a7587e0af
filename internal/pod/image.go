package pod

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ImageUse is one image that has to be present before a container can start.
type ImageUse struct {
	// Key names the use within its pod: the container's name, or that of an image
	// volume behind "volume/".
	Key string
	// Container has the reference and the pull policy. For a volume it stands in
	// for one, and has no name.
	Container *corev1.Container
}

// volumePrefix begins the key of an image volume; no container's name has a slash.
const volumePrefix = "volume/"

// VolumeImageKey is the key of the image of a volume.
func VolumeImageKey(volume string) string { return volumePrefix + volume }

// Volume returns the volume whose image it is, if it is one's.
func (u ImageUse) Volume() (name string, ok bool) { return strings.CutPrefix(u.Key, volumePrefix) }

// ImageUses lists the images that a container needs: its own, and those of the
// image volumes it mounts (KEP-4639).
func ImageUses(p *corev1.Pod, c *corev1.Container) []ImageUse {
	uses := []ImageUse{{Key: c.Name, Container: c}}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.Image == nil || !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name }) {
			continue
		}
		uses = append(uses, ImageUse{Key: VolumeImageKey(v.Name),
			Container: &corev1.Container{Image: v.Image.Reference, ImagePullPolicy: v.Image.PullPolicy}})
	}
	return uses
}

// StoredImage is an image that the runtime has.
type StoredImage struct {
	ID string
	// Names are its tags and digests, with their registries.
	Names []string
}

// Reasons of an image that could not be pulled; after each of them it is tried again
// later and later.
const (
	ReasonPull                = "ErrImagePull"
	ReasonRegistryUnavailable = "RegistryUnavailable"
	ReasonSignature           = "SignatureValidationFailed"
)

// PullFailed reports whether the reason is one of a failed pull.
func PullFailed(reason string) bool {
	return reason == ReasonPull || reason == ReasonRegistryUnavailable || reason == ReasonSignature
}
