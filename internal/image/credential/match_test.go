package credential

import (
	"strings"
	"testing"
)

func TestPatternsMatchImagesAsForTheKubelet(t *testing.T) {
	for _, c := range []struct {
		pattern, image string
		want           bool
	}{
		{"registry.io", "registry.io", true},
		{"registry.io", "registry.io/a/b", true},
		{"registry.io", "registry.com/a", false},
		{"*.registry.io", "eu.registry.io/a", true},
		{"*.registry.io", "registry.io/a", false},
		{"*.registry.io", "a.b.registry.io/a", false},
		{"*.*.registry.io", "a.b.registry.io/a", true},
		{"eu*.registry.io", "europe.registry.io", true},
		{"eu*.registry.io", "us.registry.io", false},
		{"registry.*", "registry.io", true},
		{"*", "localhost/a", true},
		{"*", "registry.io/a", false},
		{"r?gistry.io", "registry.io", false},    // a question mark ends the host of a URL
		{"[qr]egistry.io", "registry.io", false}, // a bracket begins an IPv6 address in a URL
		{"registry.io:5000", "registry.io:5000/a", true},
		{"registry.io:5000", "registry.io/a", false},
		{"registry.io", "registry.io:5000/a", false},
		{"registry.io:50*", "registry.io:5000/a", false},
		{"[::1]:5000", "[::1]:5000/a", true},
		{"registry.io/team", "registry.io/team/a", true},
		{"registry.io/team", "registry.io/teams", true}, // a prefix of letters, not of parts
		{"registry.io/team", "registry.io/other", false},
		{"registry.io/*", "registry.io/a", false},
		{"registry.io/team/", "registry.io/team", false},
		{"", "registry.io", false},
		{"%zz", "registry.io", false},
		{"registry.io", "regi stry.io", false},
	} {
		if got := matchesImage(c.pattern, c.image); got != c.want {
			t.Errorf("%q for %q: %v, want %v", c.pattern, c.image, got, c.want)
		}
	}
}

func TestKeysOfEntries(t *testing.T) {
	for written, want := range map[string]string{
		"registry.io":                          "registry.io",
		"https://registry.io":                  "registry.io",
		"http://registry.io/":                  "registry.io",
		"https://registry.io/v1/":              "registry.io",
		"registry.io/v2/":                      "registry.io",
		"registry.io/v2/team":                  "registry.io/team",
		"registry.io/v1":                       "registry.io/v1",
		"registry.io/v3/":                      "registry.io/v3/",
		"registry.io:5000/team":                "registry.io:5000/team",
		"https://user:password@registry.io/a?": "registry.io/a",
		"https://*.registry.io/v1/":            "*.registry.io",
		"HTTPS://registry.io":                  "HTTPS://registry.io", // see below
		"":                                     "",
	} {
		got, err := registryKey(written)
		if strings.HasPrefix(written, "HTTPS") {
			want = "HTTPS://registry.io" // only lower case is a scheme: the host is "HTTPS:"
		}
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", written, got, err, want)
		}
	}
	if _, err := registryKey("https://regi stry"); err == nil {
		t.Error("a host with a space is an address")
	}
}

func TestLookupOrder(t *testing.T) {
	entries := map[string]entry{}
	for _, key := range []string{"registry.io", "*.io", "registry.io/team", "registry.*", "registry.io/team/app", "other.io"} {
		entries[key] = entry{username: key}
	}
	var ring keyring
	ring.add(entries, Source{Node: true})
	ring.add(map[string]entry{"https://registry.io/v2/": {username: "second"}}, Source{Node: true})
	if got, want := users(ring.lookup("registry.io/team/app/x")), "registry.io/team/app registry.io/team registry.io second registry.* *.io"; got != want {
		t.Errorf("order %q, want %q", got, want)
	}
	if got := ring.lookup("elsewhere.org/a"); len(got) != 0 {
		t.Errorf("another registry gets %v", users(got))
	}
}

func TestTwoSpellingsOfOneKeyHaveAnOrder(t *testing.T) {
	for range 20 {
		var ring keyring
		ring.add(map[string]entry{"https://r.io/v1/": {username: "b"}, "http://r.io": {username: "a"}, "r.io/": {username: "c"}}, Source{Node: true})
		if got := users(ring.lookup("r.io/x")); got != "a b c" {
			t.Fatalf("order %q", got)
		}
	}
}

func TestDockerHub(t *testing.T) {
	for _, c := range []struct{ key, image, want string }{
		{"https://index.docker.io/v1/", "docker.io/library/nginx", "it"},
		{"index.docker.io", "docker.io/library/nginx", "it"},
		{"docker.io", "docker.io/library/nginx", "it"},
		{"docker.io/team", "docker.io/library/nginx", ""},
		{"https://index.docker.io/v1/", "registry.io/a", ""},
		{"https://index.docker.io/v1/", "localhost:5000/a", ""},
		{"https://index.docker.io/v1/", "localhost/a", "it"}, // as for the kubelet: no dot, no port
		{"https://index.docker.io/v1/team", "docker.io/team/a", ""},
		{"*.docker.io", "docker.io/library/nginx", ""},
	} {
		var ring keyring
		ring.add(map[string]entry{c.key: {username: "it"}}, Source{Node: true})
		if got := users(ring.lookup(c.image)); got != c.want {
			t.Errorf("%s for %s: %q, want %q", c.key, c.image, got, c.want)
		}
	}
	// The entry of index.docker.io is a last resort.
	var ring keyring
	ring.add(map[string]entry{"docker.io": {username: "exact"}, "https://index.docker.io/v1/": {username: "default"}}, Source{Node: true})
	if got := users(ring.lookup("docker.io/library/nginx")); got != "exact" {
		t.Errorf("got %q beside an exact match", got)
	}
}
