package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/utils/dump"
)

// maxSize bounds what is read, in bytes: thousands of pods fit into a fraction.
const maxSize = 64 << 20

const fileMode = 0o600

// ErrCorrupt is a file that is not what was written to it.
var ErrCorrupt = errors.New("the file is damaged")

type file struct {
	Data     string `json:"data"`
	Checksum uint64 `json:"checksum"`
}

// Read reads a file into state. A missing file is an error that wraps
// [fs.ErrNotExist], one that was damaged wraps [ErrCorrupt].
func Read(path string, state any) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read checkpoint: %w", err)
	}
	defer func() { _ = f.Close() }()
	blob, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	switch {
	case err != nil:
		return fmt.Errorf("read checkpoint %s: %w", path, err)
	case len(blob) > maxSize:
		return fmt.Errorf("read checkpoint %s: %w: it is larger than %d bytes", path, ErrCorrupt, maxSize)
	}
	var content file
	if err := json.Unmarshal(blob, &content); err != nil {
		return fmt.Errorf("read checkpoint %s: %w: %w", path, ErrCorrupt, err)
	}
	if want := checksum(content.Data); content.Checksum != want {
		return fmt.Errorf("read checkpoint %s: %w: its checksum is %d, that of its content %d", path, ErrCorrupt, content.Checksum, want)
	}
	if err := json.Unmarshal([]byte(content.Data), state); err != nil {
		return fmt.Errorf("read checkpoint %s: %w: %w", path, ErrCorrupt, err)
	}
	return nil
}

// Write replaces the file. Whoever reads it meanwhile, or after the agent was
// killed here, finds the old or the new content.
func Write(path string, state any) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write checkpoint %s: %w", path, err)
		}
	}()
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	blob, err := json.Marshal(file{Data: string(data), Checksum: checksum(string(data))})
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	_, err = tmp.Write(blob)
	err = errors.Join(err, tmp.Chmod(fileMode), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(tmp.Name())))
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// checksum is that of the kubelet: of how a Go program prints the text.
func checksum(data string) uint64 {
	h := fnv.New32a()
	_, _ = io.WriteString(h, dump.ForHash(data)) // a hash does not fail
	return uint64(h.Sum32())
}
