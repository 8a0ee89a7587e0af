package pullrecord

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

// policy is imagePullCredentialsVerificationPolicy.
type policy struct {
	mode     kubeletv1beta1.ImagePullCredentialsVerificationPolicy
	names    map[string]bool
	prefixes []string // each ends in a slash
}

func newPolicy(mode string, allowlist []string) (policy, error) {
	p := policy{mode: kubeletv1beta1.ImagePullCredentialsVerificationPolicy(mode), names: map[string]bool{}}
	switch p.mode {
	case kubeletv1beta1.NeverVerify, kubeletv1beta1.NeverVerifyPreloadedImages, kubeletv1beta1.AlwaysVerify:
		return p, nil // the list is of no use to them
	case kubeletv1beta1.NeverVerifyAllowlistedImages:
	default:
		return policy{}, fmt.Errorf("imagePullCredentialsVerificationPolicy %q is not known: use %s, %s, %s or %s", mode, kubeletv1beta1.NeverVerify,
			kubeletv1beta1.NeverVerifyPreloadedImages, kubeletv1beta1.NeverVerifyAllowlistedImages, kubeletv1beta1.AlwaysVerify)
	}
	for _, entry := range allowlist {
		if err := p.allow(entry); err != nil {
			return policy{}, fmt.Errorf("preloadedImagesVerificationAllowlist: entry %q %w: "+
				"name an image without tag and digest, or a prefix that ends in /*", entry, err)
		}
	}
	return p, nil
}

type entryError string

// Error implements error.
func (e entryError) Error() string { return string(e) }

func (p *policy) allow(entry string) error {
	prefix, wild := strings.CutSuffix(entry, "*")
	switch {
	case entry != strings.TrimSpace(entry):
		return entryError("begins or ends with a space")
	case strings.Contains(prefix, "*"), wild && !strings.HasSuffix(prefix, "/"):
		return entryError("has a * elsewhere than in /* at its end")
	case wild && prefix == "/":
		return entryError("names no registry")
	case wild:
		p.prefixes = append(p.prefixes, prefix)
		return nil
	}
	name, err := repository(entry)
	if err != nil {
		return err
	}
	if name != entry {
		return entryError("has a tag or a digest")
	}
	p.names[name] = true
	return nil
}

// verify reports whether pods have to show that they may have an image that is
// on the node. ours asks whether this node's agent has pulled it.
func (p *policy) verify(image string, ours func() bool) bool {
	switch p.mode {
	case kubeletv1beta1.NeverVerify:
		return false
	case kubeletv1beta1.NeverVerifyPreloadedImages:
		return ours()
	case kubeletv1beta1.NeverVerifyAllowlistedImages:
		return !p.allowed(image)
	case kubeletv1beta1.AlwaysVerify:
	}
	return true
}

func (p *policy) allowed(image string) bool {
	name, err := repository(image)
	if err != nil {
		name = image
	}
	if p.names[name] {
		return true
	}
	for _, prefix := range p.prefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// repository is a reference as a pod has it without tag and digest.
func repository(image string) (string, error) {
	ref, err := reference.Parse(image)
	if err != nil {
		return "", fmt.Errorf("is not the name of an image: %w", err)
	}
	named, ok := ref.(reference.Named)
	if !ok {
		return "", entryError("is not the name of an image")
	}
	return named.Name(), nil
}

// full is a reference as runtimes list it, with registry and tag, or the
// reference itself when it is none.
func full(image string) string {
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return image
	}
	return named.String()
}
