package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"sort"
	"strings"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// tree is the content of a layer; folders come by themselves.
type tree struct {
	entries map[string]tar.Header
	content map[string][]byte
}

func newTree() *tree { return &tree{entries: map[string]tar.Header{}, content: map[string][]byte{}} }

func (t *tree) folder(name string, mode int64) {
	t.parents(name)
	t.entries[name+"/"] = tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}
}

func (t *tree) parents(name string) {
	for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
		if _, ok := t.entries[dir+"/"]; !ok {
			t.entries[dir+"/"] = tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}
		}
	}
}

func (t *tree) file(name string, mode int64, content []byte) {
	t.parents(name)
	t.entries[name] = tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}
	t.content[name] = content
}

func (t *tree) copy(name, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read a program for an image: %w", err)
	}
	t.file(name, 0o755, content)
	return nil
}

func (t *tree) chmod(name string, mode int64) {
	header := t.entries[name]
	header.Mode = mode
	t.entries[name] = header
}

func (t *tree) link(name, target string) {
	t.parents(name)
	t.entries[name] = tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}
}

// layer packs the tree; it stays uncompressed since it never leaves the machine.
func (t *tree) layer() (v1.Layer, error) {
	names := make([]string, 0, len(t.entries))
	for name := range t.entries {
		names = append(names, name)
	}
	sort.Strings(names)
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, name := range names {
		header := t.entries[name]
		if err := w.WriteHeader(&header); err != nil {
			return nil, fmt.Errorf("pack %s into a layer: %w", name, err)
		}
		if _, err := w.Write(t.content[name]); err != nil {
			return nil, fmt.Errorf("pack %s into a layer: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack a layer: %w", err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithCompression(compression.None))
	if err != nil {
		return nil, fmt.Errorf("make a layer: %w", err)
	}
	return layer, nil
}

// image puts layers and a configuration together.
func image(config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, fmt.Errorf("append layers to an image: %w", err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read an image's configuration: %w", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", architecture(), config
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return nil, fmt.Errorf("set an image's configuration: %w", err)
	}
	return img, nil
}

// Small makes an image of its own content: the given files (by path, all
// executable) above the layers of base, or alone when base is nil.
func Small(base v1.Image, files map[string]string, config v1.Config) (v1.Image, error) {
	t := newTree()
	for name, content := range files {
		t.file(strings.TrimPrefix(name, "/"), 0o755, []byte(content))
	}
	layer, err := t.layer()
	if err != nil {
		return nil, err
	}
	var layers []v1.Layer
	if base != nil {
		if layers, err = base.Layers(); err != nil {
			return nil, fmt.Errorf("read the layers of the base image: %w", err)
		}
	}
	return image(config, append(layers, layer)...)
}
