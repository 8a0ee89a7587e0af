package credential

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestEntries(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	for _, c := range []struct {
		name, json string
		want       entry
		err        string
	}{
		{name: "auth", json: `{"auth":"` + b64([]byte("user:password")) + `"}`, want: entry{username: "user", password: "password"}},
		{name: "unpadded", json: `{"auth":"` + strings.TrimRight(b64([]byte("user:passwor")), "=") + `"}`, want: entry{username: "user", password: "passwor"}},
		{name: "colons in the password", json: `{"auth":"` + b64([]byte("u:a:b:c")) + `"}`, want: entry{username: "u", password: "a:b:c"}},
		{name: "empty password", json: `{"auth":"` + b64([]byte("u:")) + `"}`, want: entry{username: "u"}},
		{name: "auth wins", json: `{"username":"x","password":"y","email":"e","auth":"` + b64([]byte("u:p")) + `"}`, want: entry{username: "u", password: "p", email: "e"}},
		{name: "fields", json: `{"username":"u","password":"p","email":"e"}`, want: entry{username: "u", password: "p", email: "e"}},
		{name: "no password", json: `{"username":"u"}`, want: entry{username: "u"}},
		{name: "identity token only", json: `{"identitytoken":"t"}`},
		{name: "identity token and auth", json: `{"identitytoken":"t","auth":"` + b64([]byte("00000000-0000:")) + `"}`, want: entry{username: "00000000-0000"}},
		{name: "empty", json: `{}`},
		{name: "null", json: `null`},
		{name: "line break in auth", json: `{"auth":"` + b64([]byte("user:passw"))[:4] + `\n` + b64([]byte("user:passw"))[4:] + `"}`, want: entry{username: "user", password: "passw"}},
		{name: "no base64", json: `{"auth":"!!!"}`, err: errAuth.Error()},
		{name: "padded where none is due", json: `{"auth":"` + b64([]byte("user:password")) + `="}`, err: errAuth.Error()},
		{name: "no colon", json: `{"auth":"` + b64([]byte("user")) + `"}`, err: errAuth.Error()},
		{name: "a number", json: `{"password":1}`, err: "wrong type"},
		{name: "a list", json: `[]`, err: "wrong type"},
		{name: "cut off", json: `{"auth":`, err: "not JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for form, got := range map[string]func() (map[string]entry, error){
				"config.json": func() (map[string]entry, error) { return parseConfigJSON([]byte(`{"auths":{"r.io":` + c.json + `}}`)) },
				".dockercfg":  func() (map[string]entry, error) { return parseDockercfg([]byte(`{"r.io":` + c.json + `}`)) },
			} {
				entries, err := got()
				switch {
				case c.err != "":
					if err == nil || !strings.Contains(err.Error(), c.err) {
						t.Errorf("%s: error %v, want %q", form, err, c.err)
					}
				case err != nil || len(entries) != 1 || entries["r.io"] != c.want:
					t.Errorf("%s: %d entries, error %v", form, len(entries), err)
				}
			}
		})
	}
}

func TestConfigurationsWithoutEntries(t *testing.T) {
	for _, text := range []string{`{}`, `null`, `{"auths":null}`, `{"auths":{}}`, `{"credHelpers":{"r.io":"x"}}`} {
		if got, err := parseConfigJSON([]byte(text)); err != nil || len(got) != 0 {
			t.Errorf("%s: %d entries, %v", text, len(got), err)
		}
	}
	if _, err := parseDockercfg([]byte(strings.Repeat(" ", maxDockerConfig) + "{}")); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too large a configuration: %v", err)
	}
}

// The first value is one that a kubelet of 1.37 writes into its records; the
// others were computed by hand with sha256sum.
func TestHashIsTheKubelets(t *testing.T) {
	for _, c := range []struct {
		entry entry
		want  string
	}{
		{entry{username: "user", password: "password"}, "a55436fc140d516560d072c5fe8700385ce9f41629abf65c1edcbcb39fac691d"},
		{entry{}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},                                           // {}
		{entry{username: "u", password: "p", email: "e@x"}, "81ca68cdff03c27e85aa0907582586fc0609858994808ba6e7b4edf8ca5924d1"}, // {"username":"u","password":"p","email":"e@x"}
		{entry{username: "u", password: "<&>"}, "3cddd69fe285d2f3f7321f6d731bb4900879f2ceab317b329d5dc744e0bab741"},             // {"username":"u","password":"\u003c\u0026\u003e"}
	} {
		if got := c.entry.hash(); got != c.want {
			t.Errorf("hash %s, want %s", got, c.want)
		}
	}
}
