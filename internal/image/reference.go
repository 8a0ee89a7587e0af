package image

import (
	"fmt"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
)

const defaultTag = "latest"

// normalise checks a reference as written in a pod and adds ":latest" when it
// has neither tag nor digest. A short name stays short: which registry it means
// is the runtime's to say. latest reports whether the tag is "latest".
func normalise(image string) (name string, latest bool, err error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", false, fmt.Errorf("couldn't parse image name %q: %w", image, err)
	}
	_, digested := named.(reference.Digested)
	tagged, hasTag := named.(reference.Tagged)
	switch {
	case hasTag:
		return image, tagged.Tag() == defaultTag && !digested, nil
	case digested:
		return image, false, nil
	}
	return image + ":" + defaultTag, true, nil
}

// policyOf is the container's pull policy; where none is set (an API server sets
// one always) it is worked out by the API's rule.
func policyOf(c *corev1.Container, latest bool) corev1.PullPolicy {
	switch {
	case c.ImagePullPolicy != "":
		return c.ImagePullPolicy
	case latest:
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}
