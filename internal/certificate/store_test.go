package certificate

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/util/certificate"
)

func openStore(t *testing.T, dir string) *store {
	t.Helper()
	s, err := newStore(dir, clientPrefix, "", "", zap.NewNop(), nil)
	must(t, err)
	return s
}

// What is left of an exchange that was cut off at any instant: the pair from
// before or the new one is used, and the next exchange works.
func TestStoreAfterACut(t *testing.T) {
	ca := newAuthority(t, "ca")
	oldCert, oldKey := ca.issue(t, time.Hour)
	newCert, newKey := ca.issue(t, time.Hour)
	older, newer := append(bytes.Clone(oldCert), oldKey...), append(bytes.Clone(newCert), newKey...)
	for name, left := range map[string]func(t *testing.T, dir, current, updated, one, two string){
		"before anything":       func(t *testing.T, dir, current, updated, one, two string) {},
		"the new file is empty": func(t *testing.T, dir, current, updated, one, two string) { must(t, os.WriteFile(two, nil, 0o600)) },
		"half of the new file": func(t *testing.T, dir, current, updated, one, two string) {
			must(t, os.WriteFile(two, newer[:200], 0o600))
		},
		"the new file": func(t *testing.T, dir, current, updated, one, two string) { must(t, os.WriteFile(two, newer, 0o600)) },
		"the link beside": func(t *testing.T, dir, current, updated, one, two string) {
			must(t, os.WriteFile(two, newer, 0o600), os.Symlink(two, updated))
		},
		"no current link": func(t *testing.T, dir, current, updated, one, two string) {
			must(t, os.WriteFile(two, newer, 0o600), os.Symlink(two, updated), os.Remove(current))
		},
		"the new link": func(t *testing.T, dir, current, updated, one, two string) {
			must(t, os.WriteFile(two, newer, 0o600), os.Remove(current), os.Symlink(two, current))
		},
		"a second name of the file": func(t *testing.T, dir, current, updated, one, two string) {
			must(t, os.Remove(current), os.WriteFile(current, newer, 0o600), os.Link(current, two))
		},
		"a file and the link beside": func(t *testing.T, dir, current, updated, one, two string) {
			must(t, os.Remove(current), os.WriteFile(current, newer, 0o600), os.Link(current, two), os.Symlink(two, updated))
		},
		"a file where the link beside is": func(t *testing.T, dir, current, updated, one, two string) {
			must(t, os.WriteFile(updated, newer, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			in := func(n string) string { return filepath.Join(dir, "kubelet-client-"+n+".pem") }
			must(t, os.WriteFile(in("2026-01-01-00-00-01"), older, 0o600), os.Symlink(in("2026-01-01-00-00-01"), in("current")))
			left(t, dir, in("current"), in("updated"), in("2026-01-01-00-00-01"), in("2026-01-01-00-00-02"))
			s := openStore(t, dir)
			pair, err := s.Current()
			must(t, err)
			if text := certPEM(pair.Certificate[0]); !bytes.Equal(text, oldCert) && !bytes.Equal(text, newCert) {
				t.Error("the pair is neither the old nor the new one")
			}
			cert, key := ca.issue(t, time.Hour)
			_, err = s.Update(cert, key)
			must(t, err)
			again, err := openStore(t, dir).Current()
			must(t, err)
			if !bytes.Equal(certPEM(again.Certificate[0]), cert) {
				t.Error("the newest pair is not there after the next exchange")
			}
			if _, err := os.Readlink(in("current")); err != nil {
				t.Error(err)
			}
		})
	}
}

// Files that are no pair count as missing, and do not stop the agent.
func TestStoreHostileFiles(t *testing.T) {
	ca := newAuthority(t, "ca")
	cert, key := ca.issue(t, time.Hour)
	_, otherKey := ca.issue(t, time.Hour)
	for name, make := range map[string]func(t *testing.T, path string){
		"empty":          func(t *testing.T, path string) { must(t, os.WriteFile(path, nil, 0o600)) },
		"no pem":         func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("hello"), 0o600)) },
		"no key":         func(t *testing.T, path string) { must(t, os.WriteFile(path, cert, 0o600)) },
		"no certificate": func(t *testing.T, path string) { must(t, os.WriteFile(path, key, 0o600)) },
		"another's key": func(t *testing.T, path string) {
			must(t, os.WriteFile(path, append(bytes.Clone(cert), otherKey...), 0o600))
		},
		"huge":              func(t *testing.T, path string) { must(t, os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40)) },
		"a pipe":            func(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o600)) },
		"a device":          func(t *testing.T, path string) { must(t, os.Symlink("/dev/zero", path)) },
		"a link to nothing": func(t *testing.T, path string) { must(t, os.Symlink("gone", path)) },
		"a link to itself":  func(t *testing.T, path string) { must(t, os.Symlink(path, path)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			real := filepath.Join(dir, "kubelet-client-2026-01-01-00-00-01.pem")
			make(t, real)
			must(t, os.Symlink(real, filepath.Join(dir, "kubelet-client-current.pem")))
			s, err := newStore(dir, clientPrefix, "", "", zap.NewNop(), nil)
			if name == "a link to itself" {
				if err == nil {
					t.Error("no word of a link to itself")
				}
				return
			}
			must(t, err)
			var none *certificate.NoCertKeyError
			if pair, err := s.Current(); !errors.As(err, &none) {
				t.Errorf("got %v, %v", pair, err)
			}
			_, err = s.Update(cert, key)
			must(t, err)
			if _, err := s.Current(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A pair that somebody has put in the link's place is used, and kept when it is
// replaced.
func TestStoreTakesAFile(t *testing.T) {
	ca, dir := newAuthority(t, "ca"), t.TempDir()
	cert, key := ca.issue(t, time.Hour)
	path := filepath.Join(dir, "kubelet-client-current.pem")
	must(t, os.WriteFile(path, append(bytes.Clone(cert), key...), 0o600))
	s := openStore(t, dir)
	if pair, err := s.Current(); err != nil || !bytes.Equal(certPEM(pair.Certificate[0]), cert) {
		t.Errorf("got %v, %v", pair, err)
	}
	first := linked(t, path)
	newCert, newKey := ca.issue(t, time.Hour)
	_, err := s.Update(newCert, newKey)
	must(t, err)
	text, err := os.ReadFile(filepath.Join(dir, first))
	if err != nil || !bytes.HasPrefix(text, cert) {
		t.Errorf("the pair from before is %q, %v", text, err)
	}
	// A directory is nobody's certificate.
	must(t, os.Remove(path), os.Mkdir(path, 0o700))
	if _, err := newStore(dir, clientPrefix, "", "", zap.NewNop(), nil); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a directory in its place: %v", err)
	}
}

// Two pairs within a second have two files: the library would write one over the
// other.
func TestStoreWithinASecond(t *testing.T) {
	ca, dir := newAuthority(t, "ca"), t.TempDir()
	s := openStore(t, dir)
	for range 2 {
		_, err := s.Update(ca.issue(t, time.Hour))
		must(t, err)
	}
	if names := listing(t, dir); len(names) != 3 {
		t.Errorf("in the directory: %v", names)
	}
}

func TestStoreFallsBack(t *testing.T) {
	ca, dir := newAuthority(t, "ca"), t.TempDir()
	cert, key := ca.issue(t, time.Hour)
	must(t, os.WriteFile(dir+"/c", cert, 0o600), os.WriteFile(dir+"/k", key, 0o600))
	s, err := newStore(dir+"/pki", clientPrefix, dir+"/c", dir+"/k", zap.NewNop(), nil)
	must(t, err)
	if pair, err := s.Current(); err != nil || !bytes.Equal(certPEM(pair.Certificate[0]), cert) {
		t.Errorf("without a pair of its own: %v, %v", pair, err)
	}
	_, err = s.Update(ca.issue(t, -time.Minute))
	must(t, err)
	if pair, err := s.Current(); err != nil || !bytes.Equal(certPEM(pair.Certificate[0]), cert) {
		t.Errorf("beside one that has expired: %v, %v", pair, err)
	}
	newCert, newKey := ca.issue(t, time.Hour)
	_, err = s.Update(newCert, newKey)
	must(t, err)
	if pair, err := s.Current(); err != nil || !bytes.Equal(certPEM(pair.Certificate[0]), newCert) {
		t.Errorf("beside one that is good: %v, %v", pair, err)
	}
	s.refuse(true)
	if _, err := s.Current(); err == nil {
		t.Error("a pair that the server refuses is offered")
	}
	_, key2 := ca.issue(t, time.Hour)
	if _, err := s.Update(newCert, key2); err == nil {
		t.Error("half a pair was stored")
	}
}
