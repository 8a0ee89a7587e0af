package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// special makes files that are none: whoever opens them without thinking waits
// for ever, or does something to the machine.
func special(dir string) error {
	in := func(name string) string { return filepath.Join(dir, name) }
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: in("socket"), Net: "unix"})
	if err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	socket.SetUnlinkOnClose(false)
	err = errors.Join(
		socket.Close(),
		unix.Mkfifo(in("fifo"), 0o600),
		unix.Mknod(in("null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))),
		unix.Mknod(in("block"), unix.S_IFBLK|0o600, int(unix.Mkdev(259, 4095))), // there is none
		os.Symlink("loop", in("loop")),
		os.Symlink("/outside", in("absolute")),
		os.Symlink("../../../../../../../../../../outside/file", in("relative")),
		os.Mkdir(in("deep"), 0o700),
		unix.Mkfifo(in("deep/fifo"), 0o600),
	)
	if err != nil {
		return fmt.Errorf("make special files: %w", err)
	}
	return nil
}
