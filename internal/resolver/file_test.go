package resolver

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func servers(t *testing.T, f *File, want ...string) {
	t.Helper()
	dns, err := f.DNS()
	must(t, err)
	if !slices.Equal(dns.Servers, want) {
		t.Errorf("%q, want %q", dns.Servers, want)
	}
}

func TestFileIsReadAgainWhenItChanges(t *testing.T) {
	path := t.TempDir() + "/resolv.conf"
	f := NewFile(path)
	must(t, os.WriteFile(path, []byte("nameserver 10.0.0.1\n"), 0o600))
	servers(t, f, "10.0.0.1")
	// Of the same length, within the same tick of the file system's clock.
	must(t, os.WriteFile(path, []byte("nameserver 10.0.0.2\n"), 0o600))
	servers(t, f, "10.0.0.2")
	must(t, os.WriteFile(path+".new", []byte("nameserver 10.0.0.3\n"), 0o600))
	must(t, os.Rename(path+".new", path))
	servers(t, f, "10.0.0.3")
}

func TestFileIsKept(t *testing.T) {
	path := t.TempDir() + "/resolv.conf"
	must(t, os.WriteFile(path, []byte("nameserver 10.0.0.1\n"), 0o600))
	info, err := os.Stat(path)
	must(t, err)
	now := time.Now()
	if id, trusted := identify(info, now); trusted || id == (identity{}) {
		t.Errorf("a file just written: %v, %v", id, trusted)
	}
	if _, trusted := identify(info, now.Add(settled+time.Second)); !trusted {
		t.Error("a file left alone is not trusted")
	}
	must(t, os.Chtimes(path, now, now.Add(-time.Hour))) // set back: its other time tells
	if info, err = os.Stat(path); err != nil {
		t.Fatal(err)
	}
	if _, trusted := identify(info, now); trusted {
		t.Error("a file with its time set back is trusted")
	}
	must(t, os.Chtimes(path, now, now.Add(time.Hour)))
	if info, err = os.Stat(path); err != nil {
		t.Fatal(err)
	}
	if _, trusted := identify(info, now.Add(2*settled)); trusted {
		t.Error("a file of the future is trusted")
	}
	// One that has been there for long is read once.
	const old = "/etc/hostname"
	f := NewFile(old)
	if info, err = os.Stat(old); err != nil {
		t.Skip(err)
	}
	if _, trusted := identify(info, time.Now()); !trusted {
		t.Skip(old + " was written just now")
	}
	_, err = f.DNS()
	must(t, err)
	f.mu.Lock()
	f.dns.Servers = []string{"kept"}
	f.mu.Unlock()
	servers(t, f, "kept")
}

func TestNoFile(t *testing.T) {
	if dns, err := NewFile("").DNS(); dns != nil || err != nil {
		t.Errorf("%v, %v", dns, err)
	}
	if text := NewFile("").CheckLimits("c"); text != "" {
		t.Error(text)
	}
	f := NewFile(t.TempDir() + "/gone")
	want := "open " + f.path + ": no such file or directory"
	if dns, err := f.DNS(); dns != nil || !errors.Is(err, os.ErrNotExist) || err.Error() != want {
		t.Errorf("%v, %v", dns, err)
	}
	if text := f.CheckLimits(""); text != want {
		t.Error(text)
	}
}

func TestFileThatCannotBeParsed(t *testing.T) {
	f := NewFile(t.TempDir() + "/resolv.conf")
	must(t, os.WriteFile(f.path, []byte("nameserver\n"), 0o600))
	const want = "Encountered error while parsing resolv conf file. Error: nameserver list is empty "
	if dns, err := f.DNS(); dns != nil || err == nil || err.Error() != want {
		t.Errorf("%v, %v", dns, err)
	}
	if text := f.CheckLimits(""); text != "nameserver list is empty " {
		t.Error(text)
	}
	must(t, os.WriteFile(f.path, []byte("nameserver 10.0.0.1\nsearch "+strings.Repeat("a ", 33)), 0o600))
	servers(t, f, "10.0.0.1")
	if text := f.CheckLimits(""); text != "Resolv.conf file '"+f.path+"' contains search line consisting of more than 32 domains!" {
		t.Error(text)
	}
}

func TestOtherKindsOfFiles(t *testing.T) {
	dir := t.TempDir()
	must(t, errors.Join(unix.Mkfifo(dir+"/fifo", 0o600), os.WriteFile(dir+"/file", []byte("nameserver 10.0.0.1"), 0o600),
		os.Symlink("file", dir+"/link")))
	servers(t, NewFile(dir+"/link"), "10.0.0.1")
	servers(t, NewFile(dir+"/fifo")) // and does not wait for a writer
	servers(t, NewFile(os.DevNull))
	for _, path := range []string{dir, "/dev/zero"} {
		if dns, err := NewFile(path).DNS(); dns != nil || err == nil {
			t.Errorf("%s: %v", path, dns)
		}
	}
}
