package resolver

import (
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"nodeagent.dev/nodeagent/internal/containerspec"
)

// settled is how long a file has to have been left alone before its times can be
// trusted to tell whether it was written again: clocks of file systems are coarse.
const settled = 2 * time.Second

// File is the node's resolver file, read again only when it has changed. It is safe
// for concurrent use.
type File struct {
	path string

	mu    sync.Mutex
	known identity // zero: nothing is kept
	dns   containerspec.DNS
	err   error
}

// identity is what changes whenever a file is replaced or written.
type identity struct {
	dev, ino       uint64
	size           int64
	written, other syscall.Timespec // mtime, ctime
}

// NewFile returns the file that resolvConf names; "": the node's pods have no resolver.
// A path may be a symlink, the file is the administrator's.
func NewFile(path string) *File { return &File{path: path} }

// DNS returns what the file says now, which is shared and not to be changed; nil if
// there is no file by configuration. An error is in the kubelet's words. No sandbox is
// made then, of whatever DNS policy, as with the kubelet: a pod would keep wrong
// settings for all its life.
func (f *File) DNS() (*containerspec.DNS, error) {
	if f.path == "" {
		return nil, nil
	}
	dns, parsed, err := f.read()
	switch {
	case err != nil && parsed:
		return nil, fmt.Errorf("Encountered error while parsing resolv conf file. Error: %w", err)
	case err != nil:
		return nil, err
	}
	return &dns, nil
}

// CheckLimits says what of the file is more than pods can have; "" if all is well. It
// is the kubelet's event CheckLimitsForResolvConf, a warning about the node, sent once
// after a start.
func (f *File) CheckLimits(clusterDomain string) string {
	if f.path == "" {
		return ""
	}
	dns, _, err := f.read()
	if err != nil {
		return err.Error()
	}
	return overLimits(f.path, clusterDomain, dns.Searches)
}

// read returns what the file says. An error is one of parsing, or of the disk.
func (f *File) read() (dns containerspec.DNS, parsed bool, err error) {
	// A FIFO without a writer is not waited for.
	file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return dns, false, err
	}
	defer file.Close()
	now := time.Now()
	info, err := file.Stat()
	if err != nil {
		return dns, false, err
	}
	id, trusted := identify(info, now)
	f.mu.Lock()
	if trusted && f.known == id {
		defer f.mu.Unlock()
		return f.dns, true, f.err
	}
	f.mu.Unlock()
	data, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return dns, false, err
	}
	dns, err = Parse(data)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known, f.dns, f.err = identity{}, dns, err
	if trusted {
		f.known = id
	}
	return dns, true, err
}

// identify returns by what a file is known, and whether that can be relied on.
func identify(info os.FileInfo, now time.Time) (identity, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return identity{}, false
	}
	changed := time.Unix(st.Ctim.Unix())
	return identity{dev: uint64(st.Dev), ino: st.Ino, size: st.Size, written: st.Mtim, other: st.Ctim},
		now.Sub(changed) >= settled && now.Sub(info.ModTime()) >= settled
}
