package localsocket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// Modes of the kubelet's sockets and of their directories. Who connects needs to
// be able to write: root alone.
const (
	dirMode    = 0o750
	socketMode = 0o755
)

// listen makes the socket and puts it at path in one step, so that there is one
// at any time. Whatever was there, a symlink included, is replaced and not
// followed; only a directory is an error.
func listen(ctx context.Context, path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making the directory of the socket: %w", err)
	}
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("the socket's directory %s has to be one, and no symlink; remove what is there: %w",
			dir, cmp.Or(err, error(syscall.ENOTDIR)))
	}
	// No longer than the socket's own name: such paths have at most 107 bytes.
	fresh := filepath.Join(dir, freshName())
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing what an earlier agent left behind: %w", err)
	}
	lc := net.ListenConfig{Control: setMode}
	l, err := lc.Listen(ctx, "unix", fresh)
	if err != nil {
		return nil, fmt.Errorf("making a socket for %s: %w", path, err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	if err := os.Rename(fresh, path); err != nil {
		return nil, fmt.Errorf("putting a new socket in place: %w", errors.Join(err, l.Close(), os.Remove(fresh)))
	}
	return l, nil
}

// freshName is the name of a socket that is not in its place yet.
func freshName() string { return ".n" + strconv.Itoa(os.Getpid()) }

// setMode gives the socket the mode that its file will have when it is bound
// (less the umask): a file's mode could only be changed by a path.
func setMode(_, _ string, c syscall.RawConn) error {
	var err error
	if ctl := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), socketMode) }); ctl != nil {
		return ctl
	}
	return err
}

// few is a listener that has at most so many connections. One too many is closed
// at once: its client learns of it and tries again.
type few struct {
	net.Listener
	places chan struct{}
}

// Accept implements net.Listener.
func (f few) Accept() (net.Conn, error) {
	for {
		conn, err := f.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case f.places <- struct{}{}:
			return &guest{Conn: conn, leave: sync.OnceFunc(func() { <-f.places })}, nil
		default:
			_ = conn.Close()
		}
	}
}

// guest is a connection that has a place.
type guest struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (g *guest) Close() error {
	defer g.leave()
	return g.Conn.Close()
}
