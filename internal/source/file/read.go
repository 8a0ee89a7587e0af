package file

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// maxSize is the largest manifest that is read.
const maxSize = 10 << 20

// readManifest reads a regular file, or what a symbolic link to one leads to.
// It never blocks on a pipe or a device and never reads without bound: what is
// opened is checked, not what the name pointed at before.
func readManifest(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the manifest: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("looking at the manifest: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is a %s; a manifest is a regular file", describe(info.Mode()))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	if len(data) > maxSize {
		return nil, fmt.Errorf("it is larger than %d bytes; a manifest holds one Pod, look for what else is in the file", maxSize)
	}
	return data, nil
}

// describe names the kind of a file for people.
func describe(mode fs.FileMode) string {
	switch mode.Type() {
	case fs.ModeDir:
		return "directory"
	case fs.ModeNamedPipe:
		return "named pipe"
	case fs.ModeSocket:
		return "socket"
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		return "device"
	default:
		return "special file"
	}
}
