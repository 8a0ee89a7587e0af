package image

import (
	"context"
	"crypto/sha256"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/image/credential"
)

// Credential is what a pod may show to a registry.
type Credential = credential.Credential

// Source is where a credential comes from.
type Source = credential.Source

// SecretSource is an entry of a pull secret.
type SecretSource = credential.SecretSource

// ServiceAccountSource is a service account.
type ServiceAccountSource = credential.ServiceAccountSource

// Keyring finds what a pod may show to a registry.
type Keyring interface {
	// For returns the credentials for an image, those to be tried first in front;
	// none: the registry is asked anonymously. image has a tag or a digest, and a
	// registry only if the pod names one. Secrets that are missing or cannot be read
	// are no error: the pull is tried without them.
	For(ctx context.Context, p *corev1.Pod, image string) ([]Credential, error)
}

// Records remembers what pods have shown to get the images that are on the
// node. It is safe for concurrent use. image is always the reference as the pod
// has it, ref what the runtime calls the image.
type Records interface {
	// MustPull reports whether a pod has to pull an image that is present to show
	// that it may have it. credentials are asked for only where they matter; their
	// error is returned.
	MustPull(image, ref string, credentials func() ([]Credential, error)) (bool, error)
	// Begin notes, before it happens, that an image is pulled. Each Begin without an
	// error is followed by one End.
	Begin(image string) error
	// End notes what became of a pull.
	End(image string, o Outcome)
	// Add notes that a pod may use an image that was pulled.
	Add(image, ref string, by Source)
}

// Outcome is what became of a pull.
type Outcome struct {
	// Ref is the image that was pulled; empty: none.
	Ref string
	// By is what it was pulled with; nil: unknown, so that every pod has to show
	// that it may have it.
	By *Source
	// Unsure says that the image may have been pulled all the same.
	Unsure bool
}

// Events tells users what happens to a pod; an empty container means the pod.
type Events interface {
	Event(p *corev1.Pod, container string, warning bool, reason, message string)
}

// anonymous is a pull without credentials: what it brings is for all.
const anonymous = -1

// sourceOf tells with what a pull succeeded.
func sourceOf(list []Credential, used int) Source {
	if used == anonymous {
		return Source{Node: true}
	}
	return list[used].Source
}

// digest identifies credentials by what registries see of them, without keeping
// it.
func digest(list []Credential) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, c := range list {
		a := c.Auth
		for _, field := range []string{a.Username, a.Password, a.ServerAddress, a.Auth, a.IdentityToken, a.RegistryToken} {
			_, _ = fmt.Fprintf(h, "%d:%s", len(field), field) // never fails
		}
	}
	h.Sum(sum[:0])
	return sum
}
