package credential

import (
	"slices"
	"strings"
	"testing"
)

// FuzzDockerConfig reads configurations from anywhere. What they have is handed
// out in a fixed order, and their errors are from a fixed list.
func FuzzDockerConfig(f *testing.F) {
	for _, seed := range []string{
		`{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYXNzd29yZA=="}}}`, `{"r.io":{"username":"u","password":"p"}}`, `{"auths":null}`, `[`, `null`,
		`{"auths":{"*.io/a":{"auth":"?"},"%":{},"":{},"http://r.io/v2/":{"identitytoken":"t"}}}`, `{"auths":{"r.io":{"auth":"dTpw"}},"auths":{"r.io":{"auth":"eA=="}}}`,
	} {
		f.Add([]byte(seed), "r.io/a/b")
		f.Add([]byte(seed), "docker.io/library/nginx")
	}
	f.Fuzz(func(t *testing.T, data []byte, repository string) {
		for _, parse := range []func([]byte) (map[string]entry, error){parseConfigJSON, parseDockercfg} {
			entries, err := parse(data)
			if err != nil {
				const known = "it is not JSON (at byte |it is JSON but no Docker configuration: a field has the wrong type|an auth field is not base64 of user:password"
				if !slices.ContainsFunc(strings.Split(known, "|"), func(s string) bool { return strings.HasPrefix(err.Error(), s) }) {
					t.Errorf("error %v", err)
				}
				continue
			}
			var one, two keyring
			if bad := one.add(entries, Source{Secret: &SecretSource{}}); bad > len(entries) || bad != two.add(entries, Source{Secret: &SecretSource{}}) {
				t.Errorf("%d of %d entries are bad", bad, len(entries))
			}
			got, again := one.lookup(repository), two.lookup(repository)
			if len(got) > len(entries) || len(got) != len(again) {
				t.Fatalf("%d credentials, then %d, of %d entries", len(got), len(again), len(entries))
			}
			for i := range got {
				if got[i].Auth.Password != again[i].Auth.Password || *got[i].Source.Secret != *again[i].Source.Secret || len(got[i].Source.Secret.Hash) != 64 {
					t.Errorf("credential %d differs", i)
				}
			}
		}
	})
}

// FuzzProviderReply reads answers of hostile providers.
func FuzzProviderReply(f *testing.F) {
	good := reply("Image", "1h", "*.example.com", "u", "p")
	for _, seed := range []string{good, good + "\n", good[:40], "", "null", "kind: CredentialProviderResponse", strings.Replace(good, "1h", "-1ns", 1),
		`{"kind":"CredentialProviderResponse","apiVersion":"` + apiV1 + `","cacheKeyType":"Global","auth":null}`, strings.Replace(good, apiV1, apiV1+"alpha1", 1)} {
		f.Add([]byte(seed))
	}
	w, err := newWire()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		accepted := 0
		for _, version := range versions() {
			r, err := w.reply(version, data)
			if (r == nil) == (err == nil) {
				t.Fatalf("reply %v, error %v", r != nil, err)
			}
			if err != nil {
				if len(err.Error()) > 200 {
					t.Errorf("error %v", err)
				}
				continue
			}
			accepted++
			var kept answers
			entries := map[string]entry{}
			for key, auth := range r.Auth {
				entries[key] = entry{username: auth.Username, password: auth.Password}
			}
			var ring keyring
			ring.add(entries, Source{Node: true})
			if got := ring.lookup("eu.example.com/a"); len(got) > len(r.Auth) {
				t.Errorf("%d credentials of %d", len(got), len(r.Auth))
			}
			kept.mu.Lock()
			kept.keep("eu.example.com/a", identity{}, result{entries: entries, scope: r.CacheKeyType, keep: 1})
			kept.mu.Unlock()
		}
		if accepted > 1 {
			t.Error("an answer is of two versions")
		}
	})
}

// FuzzMatch compares the matching with what it means: the same port, the same
// number of labels, a prefix of the path.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{{"*.io:5000/a", "r.io:5000/a/b"}, {"[::1]", "[::1]:1/a"}, {"%", "%"}, {"", ""}, {"[", "a"}, {"*.*", "a.b"}, {"a?b", "a"}, {"u@h/p#f", "h/p"}, {"\\*", "x"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, repository string) {
		got := matchesImage(pattern, repository)
		p, err1 := parseAddress(pattern)
		r, err2 := parseAddress(repository)
		switch {
		case err1 != nil || err2 != nil:
			if got {
				t.Error("what cannot be parsed matches")
			}
		case got && (p.port != r.port || len(p.labels) != len(r.labels) || !strings.HasPrefix(r.path, p.path)):
			t.Errorf("%q matches %q", pattern, repository)
		case !got && slices.Equal(p.labels, r.labels) && p.port == r.port && p.path == r.path && !strings.ContainsAny(strings.Join(p.labels, ""), `*?[\`):
			t.Errorf("%q does not match its like %q", pattern, repository)
		}
		// An entry is found exactly when its key matches, or on Docker Hub.
		var ring keyring
		if ring.add(map[string]entry{pattern: {username: "u"}}, Source{Node: true}) == 0 {
			key, err := registryKey(pattern)
			if err != nil {
				t.Fatal(err)
			}
			want := matchesImage(key, repository) || onDockerHub(repository) && key == dockerHub
			if (len(ring.lookup(repository)) == 1) != want {
				t.Errorf("%q for %q: want %v", pattern, repository, want)
			}
		}
	})
}
