package bed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"nodeagent.dev/nodeagent/test/bed/images"
)

// PushImage puts an image into the bed's registry under a path like "x/y:tag"
// and returns the name to pull it by. RegistryHost may stand for the host.
func (b *Bed) PushImage(ctx context.Context, path string, img v1.Image) (string, error) {
	full := b.Registry + "/" + path
	ref, err := name.ParseReference(full, name.Insecure)
	if err != nil {
		return "", fmt.Errorf("push image %s: %w", path, err)
	}
	direct := &http.Transport{Proxy: nil}
	defer direct.CloseIdleConnections()
	if err := remote.Write(ref, img, remote.WithContext(ctx), remote.WithTransport(direct)); err != nil {
		return "", fmt.Errorf("push image %s: %w", path, err)
	}
	return full, nil
}

// BusyboxImage is the busybox image, to be pushed under other names.
func (b *Bed) BusyboxImage() (v1.Image, error) { return images.Busybox(b.BaseArchive()) }

// SmallImage is busybox with more files (all executable) and a configuration.
func (b *Bed) SmallImage(files map[string]string, config v1.Config) (v1.Image, error) {
	base, err := b.BusyboxImage()
	if err != nil {
		return nil, err
	}
	return images.Small(base, files, config)
}

// KeeperPID finds the keeper's process.
func (b *Bed) KeeperPID() (int, error) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		argv := strings.Split(strings.TrimRight(string(content), "\x00"), "\x00")
		if len(argv) == 3 && filepath.Base(argv[0]) == "bed" && argv[1] == "keeper" && argv[2] == b.Dir {
			return strconv.Atoi(filepath.Base(filepath.Dir(file))) //nolint:wrapcheck // the name is a number
		}
	}
	return 0, errors.New("bed " + b.Name + " has no keeper")
}
