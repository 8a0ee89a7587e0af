package credential

import (
	"cmp"
	"maps"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"
)

// dockerHub is the key of the entry for Docker Hub that the docker client writes
// (https://index.docker.io/v1/).
const dockerHub = "index.docker.io"

// address is where an image is, or a pattern for that: labels of a host name
// (globs, in a pattern), a port, the beginning of a path.
type address struct {
	labels     []string
	port, path string
}

// parseAddress reads a reference or pattern without scheme.
func parseAddress(s string) (address, error) {
	u, err := url.Parse("https://" + s)
	if err != nil {
		return address{}, err
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		host, port = u.Host, ""
	}
	return address{labels: strings.Split(host, "."), port: port, path: u.Path}, nil
}

// matches reports whether a pattern is for an address, by the kubelet's rule: the
// same port, as many labels, each label matched by its glob, and a path that
// begins with the pattern's. A malformed glob matches nothing.
func (pattern address) matches(target address) bool {
	if pattern.port != target.port || len(pattern.labels) != len(target.labels) || !strings.HasPrefix(target.path, pattern.path) {
		return false
	}
	for i, glob := range pattern.labels {
		if ok, err := path.Match(glob, target.labels[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// matchesImage is matches for what was not parsed yet. What cannot be parsed
// matches nothing.
func matchesImage(pattern, repository string) bool {
	p, err := parseAddress(pattern)
	if err != nil {
		return false
	}
	t, err := parseAddress(repository)
	return err == nil && p.matches(t)
}

// onDockerHub reports whether the entry for Docker Hub is for a repository. As
// for the kubelet, a first part that does not look like a host name counts.
func onDockerHub(repository string) bool {
	first, _, hasPath := strings.Cut(repository, "/")
	switch {
	case first == "":
		return false
	case !hasPath, first == "docker.io", first == dockerHub:
		return true
	}
	return !strings.ContainsAny(first, ".:")
}

// registryKey makes the key of a configuration's entry: host and path. The
// scheme and the registry API's version (/v1/, /v2/) do not count.
func registryKey(written string) (string, error) {
	if !strings.HasPrefix(written, "https://") && !strings.HasPrefix(written, "http://") {
		written = "https://" + written
	}
	u, err := url.Parse(written)
	if err != nil {
		return "", err
	}
	p := u.Path
	if strings.HasPrefix(p, "/v1/") || strings.HasPrefix(p, "/v2/") {
		p = p[len("/v1"):]
	}
	if p == "/" {
		p = ""
	}
	return u.Host + p, nil
}

// owned is an entry and whom it is from. The hash of a secret is added when the
// entry is handed out.
type owned struct {
	entry  entry
	source Source
}

// keyring is an index of entries by registryKey. The zero value is empty.
type keyring struct {
	byKey map[string][]owned
}

// add takes entries in, after those that are there, and says how many it left
// out because their key is no address. Where two spellings make the same key,
// their alphabet decides; the kubelet leaves that to chance.
func (k *keyring) add(entries map[string]entry, source Source) (bad int) {
	if k.byKey == nil {
		k.byKey = make(map[string][]owned, len(entries))
	}
	for _, written := range slices.Sorted(maps.Keys(entries)) {
		key, err := registryKey(written)
		if err != nil {
			bad++
			continue
		}
		k.byKey[key] = append(k.byKey[key], owned{entry: entries[written], source: source})
	}
	return bad
}

// lookup returns what is for a repository, the best match first; else what is for
// Docker Hub, if the repository is there.
func (k *keyring) lookup(repository string) []Credential {
	var found []Credential
	target, err := parseAddress(repository)
	if err == nil {
		keys := slices.SortedFunc(maps.Keys(k.byKey), func(a, b string) int { return cmp.Compare(b, a) })
		for _, key := range keys {
			if pattern, err := parseAddress(key); err == nil && pattern.matches(target) {
				found = appendCredentials(found, k.byKey[key])
			}
		}
	}
	if len(found) == 0 && onDockerHub(repository) {
		found = appendCredentials(found, k.byKey[dockerHub])
	}
	return found
}

func appendCredentials(to []Credential, all []owned) []Credential {
	for _, o := range all {
		source := o.source
		if source.Secret != nil {
			secret := *source.Secret
			secret.Hash = o.entry.hash()
			source.Secret = &secret
		}
		to = append(to, Credential{Auth: o.entry.auth(), Source: source})
	}
	return to
}
