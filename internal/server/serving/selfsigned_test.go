package serving

import (
	"bytes"
	"os"
	"testing"
)

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return text
}

func mode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	if info.Mode() != want {
		t.Errorf("%s has the mode %v, want %v", path, info.Mode(), want)
	}
}

func TestSelfSigned(t *testing.T) {
	dir := t.TempDir() + "/lib/pki"
	cfg := Config{CertDir: dir, HostName: "node-1", Reload: true}
	addr, _ := start(t, cfg)
	if got := shown(t, addr); got != "node-1" {
		t.Errorf("shown %s", got)
	}
	mode(t, dir+"/kubelet.crt", 0o644)
	mode(t, dir+"/kubelet.key", 0o600)
	before := read(t, dir+"/kubelet.crt")
	start(t, cfg)
	if !bytes.Equal(before, read(t, dir+"/kubelet.crt")) {
		t.Error("a good pair was made again")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("in the directory: %v, %v", entries, err)
	}
}

// Whatever a crash leaves behind, the next start serves.
func TestSelfSignedHeals(t *testing.T) {
	good, goodKey := newPair(t, "old")
	_, otherKey := newPair(t, "other")
	for name, c := range map[string]struct {
		cert, key []byte // nil: no file
		kept      bool   // what cannot be used is still there
		also      func(t *testing.T, dir string)
	}{
		"no certificate":        {key: goodKey, kept: true},
		"no key":                {cert: good, kept: true},
		"empty certificate":     {cert: []byte{}, key: goodKey, kept: true},
		"empty key":             {cert: good, key: []byte{}, kept: true},
		"both empty":            {cert: []byte{}, key: []byte{}},
		"half a certificate":    {cert: good[:len(good)/2], key: goodKey, kept: true},
		"half a key":            {cert: good, key: goodKey[:len(goodKey)/2], kept: true},
		"not a pair":            {cert: good, key: otherKey, kept: true},
		"leftovers of a crash":  {also: func(t *testing.T, dir string) { must(t, os.WriteFile(dir+"/kubelet.key.new", []byte("x"), 0o644)) }},
		"links to nothing":      {also: func(t *testing.T, dir string) { must(t, os.Symlink("gone", dir+"/kubelet.crt")) }},
		"set aside once before": {cert: good, key: otherKey, also: func(t *testing.T, dir string) { setAsideBefore(t, dir) }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for path, text := range map[string][]byte{"/kubelet.crt": c.cert, "/kubelet.key": c.key} {
				if text != nil {
					must(t, os.WriteFile(dir+path, text, 0o640))
				}
			}
			if c.also != nil {
				c.also(t, dir)
			}
			addr, _ := start(t, Config{CertDir: dir, HostName: "new"})
			if got := shown(t, addr); got != "new" {
				t.Errorf("shown %s", got)
			}
			mode(t, dir+"/kubelet.crt", 0o644)
			mode(t, dir+"/kubelet.key", 0o600)
			if !c.kept {
				return
			}
			for path, text := range map[string][]byte{"/kubelet.crt": c.cert, "/kubelet.key": c.key} {
				if len(text) > 0 && !bytes.Equal(read(t, dir+path+aside), text) {
					t.Errorf("%s is not what was there", path+aside)
				}
			}
		})
	}
}

// setAsideBefore leaves files that must not be lost to a second failure.
func setAsideBefore(t *testing.T, dir string) {
	t.Helper()
	path := dir + "/kubelet.key" + aside
	must(t, os.WriteFile(path, []byte("precious"), 0o600))
	t.Cleanup(func() {
		if got := string(read(t, path)); got != "precious" {
			t.Errorf("%s became %q", path, got)
		}
	})
}
