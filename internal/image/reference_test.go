package image

import (
	"strings"
	"testing"

	"github.com/distribution/reference"
)

// A reference that is taken names one image: it has a tag or a digest, says the same
// when it is read again, and begins as it was written.
func FuzzReference(f *testing.F) {
	for _, seed := range []string{
		"busybox", "busybox:1.37", "registry.k8s.io/pause:3.10.2", "localhost:5000/a/b", "a@sha256:" + strings.Repeat("0", 64),
		"a:t@sha256:" + strings.Repeat("f", 64), "UPPER", "a//b", "", ":", "a:", "-a", "host:port/a", "[::1]:5000/a", "a b", "a\nb", strings.Repeat("a", 300),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, image string) {
		name, latest, err := normalise(image)
		if err != nil {
			return
		}
		if !strings.HasPrefix(name, image) || strings.ContainsAny(name, " \t\r\n\x00") {
			t.Fatalf("%q became %q", image, name)
		}
		again, _, err := normalise(name)
		if err != nil || again != name {
			t.Fatalf("%q became %q, and that %q (%v)", image, name, again, err)
		}
		parsed, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			t.Fatalf("%q became %q, which is none: %v", image, name, err)
		}
		_, tagged := parsed.(reference.Tagged)
		_, digested := parsed.(reference.Digested)
		if !tagged && !digested {
			t.Fatalf("%q became %q, which names many images", image, name)
		}
		if added := name != image; added && !latest {
			t.Fatalf("%q became %q, which is said not to be the latest", image, name)
		}
	})
}
