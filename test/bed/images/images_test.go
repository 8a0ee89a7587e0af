package images

import (
	"archive/tar"
	"errors"
	"io"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestSmall(t *testing.T) {
	t.Parallel()
	base, err := Small(nil, map[string]string{"a/b": "1"}, v1.Config{})
	if err != nil {
		t.Fatal(err)
	}
	img, err := Small(base, map[string]string{"/x": "2"}, v1.Config{Cmd: []string{"/x"}})
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil || config.OS != "linux" || !slices.Equal(config.Config.Cmd, []string{"/x"}) || len(config.RootFS.DiffIDs) != 2 {
		t.Errorf("got %+v, %v", config, err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(content); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
	if !slices.Equal(names, []string{"a/", "a/b"}) {
		t.Errorf("got %q", names)
	}
}
