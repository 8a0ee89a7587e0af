package stats

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFilesOfProcesses(t *testing.T) {
	t.Parallel()
	proc := t.TempDir()
	fds := filepath.Join(proc, "7", "fd")
	if err := os.MkdirAll(fds, 0o755); err != nil {
		t.Fatal(err)
	}
	for i, target := range []string{"/dev/null", "socket:[1]", "pipe:[2]", "socket:[3]", "sock", "/hangs/forever"} {
		if err := os.Symlink(target, filepath.Join(fds, strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	m := &machine{proc: proc}
	var got Processes
	m.files(newScratch(), []byte("7\n8\n0\nx\n99999999999\n"), &got)
	if got.Files != 6 || got.Sockets != 2 {
		t.Errorf("got %d files, %d sockets; want 6 and 2", got.Files, got.Sockets)
	}
}

func TestSocketsAreLookedForUpToABound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 5 {
		if err := os.Symlink("socket:[1]", filepath.Join(dir, strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	entries := make([]byte, 4096)
	n, err := unix.Getdents(fd, entries)
	if err != nil {
		t.Fatal(err)
	}
	looks := 2
	if files, sockets := countEntries(fd, entries[:n], &looks); files != 5 || sockets != 2 || looks != 0 {
		t.Errorf("got %d files, %d sockets, %d looks left", files, sockets, looks)
	}
	// What is cut off in the middle of an entry is not read past.
	for cut := range n {
		countEntries(fd, entries[:cut], &looks)
	}
}

func TestOwnFiles(t *testing.T) {
	t.Parallel()
	m := &machine{proc: procMount}
	line := []byte(strconv.Itoa(os.Getpid()) + "\n")
	s := newScratch()
	count := func() uint64 {
		var p Processes
		m.files(s, line, &p)
		return p.Sockets
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// Other tests of this process open sockets, too: it has at least this one.
	if count() == 0 {
		t.Error("no sockets")
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if got := m.openFilesLimit(s, os.Getpid()); got == nil || uint64(*got) != limit.Cur {
		t.Errorf("limit of open files: got %v, want %d", got, limit.Cur)
	}
}

func TestLimitOfOpenFilesFromText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]*int64{
		"Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 4096                 files\n": new(int64(1024)),
		"Max open files            unlimited            unlimited            files\n":                                                                            new(int64(-1)),
		"Max open files\n":         nil,
		"Max open files some more": nil,
		"":                         nil,
	} {
		proc := t.TempDir()
		if err := os.Mkdir(filepath.Join(proc, "3"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, "3", "limits"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m := &machine{proc: proc}
		if got := m.openFilesLimit(newScratch(), 3); (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

func TestNamesOfDevices(t *testing.T) {
	t.Parallel()
	sys := t.TempDir()
	if err := os.MkdirAll(filepath.Join(sys, "dev/block"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../devices/pci0000:00/virtio1/block/vda/vda1", filepath.Join(sys, "dev/block/254:1")); err != nil {
		t.Fatal(err)
	}
	d := deviceNames{sys: sys}
	rows := []Row{{Sample: Sample{IO: &IO{Devices: []Device{{Major: 254, Minor: 1}, {Major: 1}}}}}, {}}
	d.name(rows)
	if got := rows[0].IO.Devices[0].Name; got != "/dev/vda1" {
		t.Errorf("got %q", got)
	}
	if got := rows[0].IO.Devices[1].Name; got != "" {
		t.Errorf("a device that is not there: got %q", got)
	}
}
