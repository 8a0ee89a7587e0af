package machine

import "testing"

// TestMirrorURL: both formats of apt's sources, and not the security archive.
func TestMirrorURL(t *testing.T) {
	for text, want := range map[string]string{
		"deb http://deb.debian.org/debian bookworm main\n":                                 "http://deb.debian.org/debian",
		"deb [signed-by=/k.gpg] https://mirror.example/x/debian/ trixie main\n":            "https://mirror.example/x/debian",
		"Types: deb\n# http://snapshot.example/debian\nURIs: http://near.example/debian\n": "http://near.example/debian",
		"# deb http://deb.debian.org/debian bookworm main\n":                               "",
		"deb http://deb.debian.org/debian-security bookworm-security main\n":               "",
		"deb https://deb.nodesource.com/node_20.x nodistro main\n":                         "",
	} {
		got := ""
		if m := mirrorURL.FindStringSubmatch(text); m != nil {
			got = m[1]
		}
		if got != want {
			t.Errorf("in %q: %q, want %q", text, got, want)
		}
	}
}
