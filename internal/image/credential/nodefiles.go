package credential

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"go.uber.org/zap"
)

const (
	configJSON = "config.json"
	dockercfg  = ".dockercfg"
)

// DockerConfigPaths are the files in which the kubelet looks for the node's own
// credentials, in its order: config.json in the kubelet's root directory, the
// working directory, ~/.docker and /.docker, then .dockercfg in the root
// directory, the working directory, ~ and /. homeDir may be empty when there is
// none; it is the working directory then.
func DockerConfigPaths(rootDir, homeDir string) []string {
	return []string{
		filepath.Join(rootDir, configJSON), configJSON,
		filepath.Join(homeDir, ".docker", configJSON), filepath.Join("/.docker", configJSON),
		filepath.Join(rootDir, dockercfg), dockercfg,
		filepath.Join(homeDir, dockercfg), filepath.Join("/", dockercfg),
	}
}

// nodeFiles reads the node's own credentials. Nothing is kept: they are read when
// a pull asks, so that a change counts at once.
type nodeFiles struct {
	paths []string
	log   *zap.Logger

	mu   sync.Mutex
	told map[string]string // by path: the trouble that was logged last
}

func newNodeFiles(paths []string, log *zap.Logger) *nodeFiles {
	return &nodeFiles{paths: paths, log: log, told: map[string]string{}}
}

// keyring reads the first file that can be read. One that is there but no good is
// passed over, as the kubelet does, and logged once.
func (f *nodeFiles) keyring() *keyring {
	ring := &keyring{}
	for _, path := range f.paths {
		entries, err := readNodeFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			f.tell(path, err.Error())
			continue
		}
		trouble := ""
		if bad := ring.add(entries, Source{Node: true}); bad > 0 {
			trouble = fmt.Sprintf("%d of its %d entries are left out: their names are no registry addresses", bad, len(entries))
		}
		f.tell(path, trouble)
		break
	}
	return ring
}

// tell logs what is wrong with a file when it is news.
func (f *nodeFiles) tell(path, trouble string) {
	f.mu.Lock()
	known := f.told[path] == trouble
	f.told[path] = trouble
	f.mu.Unlock()
	if trouble != "" && !known {
		f.log.Warn("A file with the node's registry credentials is not used as it is; correct or remove it",
			zap.String("file", path), zap.String("trouble", trouble))
	}
}

func readNodeFile(path string) (map[string]entry, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if filepath.Base(path) == dockercfg {
		return parseDockercfg(data)
	}
	return parseConfigJSON(data)
}

// readFile reads a regular file of at most maxDockerConfig bytes. It does not
// wait for the writer of a FIFO.
func readFile(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxDockerConfig+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxDockerConfig {
		return nil, fmt.Errorf("%s has more than the %d bytes that are read", path, maxDockerConfig)
	}
	return data, nil
}
