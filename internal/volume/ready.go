package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const pluginsDir = "plugins"

// metaDir is where the kubelet keeps what a type notes about a volume.
func (r Ref) metaDir() string {
	return filepath.Join(podsDir, string(r.UID), pluginsDir, escape(r.Plugin), r.Name)
}

// Ready reports whether the volume was set up to the end before. It is the
// kubelet's own mark, so that either agent respects what the other has set up:
// the pod may have changed modes and owners since.
func (r Ref) Ready() bool {
	root, err := os.OpenRoot(r.Root)
	if err != nil {
		return false
	}
	defer root.Close()
	info, err := root.Lstat(filepath.Join(r.metaDir(), "ready"))
	return err == nil && info.Mode().IsRegular()
}

// SetReady notes that the volume is set up. The note goes with the pod's
// directory, or with [Ref.ClearReady].
func (r Ref) SetReady() error {
	root, err := os.OpenRoot(r.Root)
	if err != nil {
		return fmt.Errorf("open root directory: %w", err)
	}
	defer root.Close()
	if err := root.MkdirAll(r.metaDir(), dirMode); err != nil {
		return fmt.Errorf("note that %s is set up: %w", r, err)
	}
	f, err := root.OpenFile(filepath.Join(r.metaDir(), "ready"), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("note that %s is set up: %w", r, err)
	}
	return f.Close()
}

// ClearReady takes the note back. It has to go before the volume does.
func (r Ref) ClearReady() error {
	root, err := os.OpenRoot(r.Root)
	if err != nil {
		return fmt.Errorf("open root directory: %w", err)
	}
	defer root.Close()
	err = root.Remove(filepath.Join(r.metaDir(), "ready"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note that %s is not set up: %w", r, err)
	}
	return nil
}
