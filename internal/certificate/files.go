package certificate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const (
	// maxFileBytes bounds every file that is read: kubeconfigs, certificates
	// with their chains, keys.
	maxFileBytes = 1 << 20
	// The kubelet's modes of the certificate directory and of what is secret.
	dirMode, secretMode = 0o755, 0o600
)

// errTooBig is a file that is larger than any it could be.
var errTooBig = fmt.Errorf("it is larger than %d bytes", maxFileBytes)

// readFile reads a regular file of bounded size. It does not block on anything
// else, like a named pipe. Links are followed: kubelet-client-current.pem is one.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("reading %s: it is no regular file (%v)", path, info.Mode().Type())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("reading %s: %w", path, errTooBig)
	}
	return data, nil
}

// writeSecret writes a file so that it is whole or as it was before, whenever
// the machine stops. If path is a link, what it leads to is replaced.
func writeSecret(path string, data []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	dir := filepath.Dir(path)
	err := func() error {
		if err := os.MkdirAll(dir, dirMode); err != nil {
			return err
		}
		f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".new-") // mode 0600
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return errors.Join(err, os.Remove(f.Name()))
		}
		if err := os.Rename(f.Name(), path); err != nil {
			return errors.Join(err, os.Remove(f.Name()))
		}
		return syncDir(dir)
	}()
	if err != nil {
		return fmt.Errorf("writing %s: %w; the directory has to be writable for the agent and must not be full", path, err)
	}
	return nil
}

// syncDir makes renames in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// gone says that a file is not there.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
