package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMountFacts(t *testing.T) {
	table := `100 1 0:1 / / rw - overlay overlay rw,lowerdir=/a
101 100 0:2 / /proc rw,nosuid - proc proc rw
102 100 0:3 /pods/a\040b /v/a\040b ro,noexec shared:12 master:7 - ext4 /dev/vda rw,discard
103 100 0:4 / /v/a\040b rw,relatime - tmpfs tmpfs rw,size=4k
104 100 0:5 / /dev/shm rw - tmpfs shm rw
`
	facts, err := mountFacts(table)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range facts {
		got[f.Key] = f.Value
	}
	for key, want := range map[string]string{
		"mount[/v/a b].root": "/pods/a b", "mount[/v/a b].options": "ro,noexec", "mount[/v/a b].propagation": "shared master",
		"mount[/v/a b].type": "ext4", "mount[/v/a b].source": "/dev/vda", "mount[/v/a b].super": "rw,discard",
		"mount[/v/a b]#2.type": "tmpfs", "mount[/v/a b]#2.propagation": "private", "mount[/dev/shm].source": "shm",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if len(facts) != 3*6 {
		t.Errorf("%d facts, want those of three mounts: %v", len(facts), facts)
	}
	if _, err := mountFacts("100 1 0:1 / / rw"); err == nil {
		t.Error("half a line is no mount table")
	}
}

func TestWalk(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "..2026_11_21_11_50_58.12345"), 0o755),
		os.WriteFile(filepath.Join(dir, "..2026_11_21_11_50_58.12345/key"), []byte("text\n"), 0o640),
		os.Symlink("..2026_11_21_11_50_58.12345", filepath.Join(dir, "..data")),
		os.Symlink("..data/key", filepath.Join(dir, "key")),
		os.Chmod(filepath.Join(dir, "..2026_11_21_11_50_58.12345/key"), 0o640),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	facts, err := walk(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range facts {
		all[strings.Replace(f.Key, dir, "", 1)] = f.Value
	}
	for key, want := range map[string]string{
		"entry[/..TIME/key]": `file 0640 `, "entry[/..data]": "link 0777 ", "entry[/key]": "link 0777 ", "entry[/..TIME]": "folder 0755 ",
	} {
		if !strings.HasPrefix(all[key], want) {
			t.Errorf("%s is %q, want %q", key, all[key], want)
		}
	}
	if got := all["entry[/..data]"]; !strings.HasSuffix(got, " -> ..TIME") {
		t.Errorf("..data is %q", got)
	}
	if got := all["entry[/..TIME/key]"]; !strings.HasSuffix(got, ` "text\n"`) {
		t.Errorf("the file is %q", got)
	}
	if facts, err := walk(filepath.Join(dir, "gone")); err != nil || len(facts) != 1 || !strings.Contains(facts[0].Value, "no such file") {
		t.Errorf("what is not there is %v, %v", facts, err)
	}
}

func TestContent(t *testing.T) {
	encode := base64.RawURLEncoding.EncodeToString
	token := encode([]byte(`{"alg":"RS256","kid":"x"}`)) + "." +
		encode([]byte(`{"aud":["a"],"exp":1700003600,"iat":1700000000,"jti":"random","kubernetes.io":{"namespace":"n","warnafter":1700000060}}`)) + ".c2ln"
	for name, c := range map[string]struct{ data, want string }{
		"text":   {"a\nb", `"a\nb"`},
		"empty":  {"", `""`},
		"binary": {"\x00\xff", "[2 sha256:06eb7d6a69ee19e5fbdf749018d3d2abfa04bcbd1365db312eb86dc7169389b8]"},
		"token":  {token, `token [alg kid] {"aud":["a"],"exp":"+3600 s","iat":"+0 s","kubernetes.io":{"namespace":"n","warnafter":"+60 s"}}`},
		"dots":   {"a.b.c", `"a.b.c"`},
	} {
		if got := content([]byte(c.data)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
