package images

import (
	"archive/tar"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// archive writes an image of one file under a name.
func archive(t *testing.T, image, file string) string {
	t.Helper()
	img, err := Small(nil, map[string]string{file: file}, v1.Config{})
	if err != nil {
		t.Fatal(err)
	}
	refs := map[name.Tag]v1.Image{}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := errors.Join(tag(refs, img, image), write(path, refs)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUpstreamImages(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "nnp")
	if err := os.WriteFile(program, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	refs, err := upstreamImages(archive(t, BusyboxName, "busybox"), archive(t, AgnhostName, "agnhost"), program)
	if err != nil {
		t.Fatal(err)
	}
	digests := map[v1.Hash]string{}
	for _, image := range UpstreamNames() {
		ref, err := name.NewTag(image)
		if err != nil {
			t.Fatal(err)
		}
		img := refs[ref]
		if img == nil {
			t.Errorf("there is no %s", image)
			continue
		}
		id, err := img.ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		if digests[id] != "" {
			t.Errorf("%s and %s are one image", digests[id], image)
		}
		digests[id] = image
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if user := config.Config.User; (user == "1234") != strings.Contains(image, "/nonroot:") {
			t.Errorf("%s runs as user %q", image, user)
		}
		if strings.Contains(image, "/nonewprivs:") && mode(t, img, "usr/local/bin/nnp") != 0o4755 {
			t.Errorf("nnp has mode %o", mode(t, img, "usr/local/bin/nnp"))
		}
		if strings.Contains(image, "/kitten:") && mode(t, img, "data.json") != 0o644 {
			t.Error("kitten has no data.json")
		}
	}
}

// What is in the image has to be usable: the tests start a server with the key.
func TestAgnhost(t *testing.T) {
	t.Parallel()
	program, out := filepath.Join(t.TempDir(), "agnhost"), filepath.Join(t.TempDir(), "agnhost.tar")
	if err := os.WriteFile(program, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeAgnhost(out, archive(t, BusyboxName, "busybox"), program); err != nil {
		t.Fatal(err)
	}
	img, err := FromArchive(out, AgnhostName)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]int64{"agnhost": 0o755, "agnhost-2": 0o777, "uploads/": 0o755, "localhost.key": 0o644} {
		if got := mode(t, img, file); got != want {
			t.Errorf("%s has mode %o", file, got)
		}
	}
	certificate, key, err := selfSigned("localhost")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair(certificate, key); err != nil {
		t.Error(err)
	}
}

// mode is that of a file in the topmost layer, 0 when there is none.
func mode(t *testing.T, img v1.Image, file string) int64 {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	content, err := layers[len(layers)-1].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	for r := tar.NewReader(content); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return 0
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Name == file {
			return header.Mode
		}
	}
}
