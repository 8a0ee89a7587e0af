package images

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"nodeagent.dev/nodeagent/test/bed/build"
)

const (
	upstreamRepository = "registry.k8s.io/e2e-test-images/"
	upstreamRecipe     = "1" // raised when what is below changes
)

// UpstreamNames are the images that Upstream makes.
func UpstreamNames() []string {
	var names []string
	for _, i := range []string{
		"agnhost:2.55", "nginx:1.27.0-2", "nginx:1.28.0-2", "kitten:1.8", "nautilus:1.8", "nonewprivs:1.4", "nonroot:1.5",
	} {
		names = append(names, upstreamRepository+i)
	}
	return names
}

// Upstream makes what stands for the images that upstream's tests use beside
// pause, busybox and agnhost, and returns the archive. Each does what the tests
// want of it and no more: nginx is the web server of busybox, kitten and
// nautilus are agnhost's with another /data.json, and an agnhost of another
// version is agnhost.
func Upstream(ctx context.Context, b *build.Builder) (string, error) {
	archives, err := Archives(ctx, b, true)
	if err != nil {
		return "", err
	}
	base, agnhost := archives[0], archives[1]
	return b.Once(ctx, cacheKey("image-upstream", upstreamRecipe, base, agnhost), "upstream.tar", func(ctx context.Context, tmp string) error {
		nnp, err := b.Program(ctx, "./test/bed/images/nnp", "nnp", "-s -w")
		if err != nil {
			return err
		}
		refs, err := upstreamImages(base, agnhost, nnp)
		if err != nil {
			return err
		}
		return write(filepath.Join(tmp, "upstream.tar"), refs)
	})
}

// FromArchive reads the named image from an archive.
func FromArchive(archive, image string) (v1.Image, error) {
	t, err := name.NewTag(image)
	if err != nil {
		return nil, fmt.Errorf("parse image name %s: %w", image, err)
	}
	img, err := tarball.ImageFromPath(archive, &t)
	if err != nil {
		return nil, fmt.Errorf("read image %s from %s: %w", image, archive, err)
	}
	return img, nil
}

func upstreamImages(baseArchive, agnhostArchive, nnp string) (map[name.Tag]v1.Image, error) {
	busybox, err := Busybox(baseArchive)
	if err != nil {
		return nil, err
	}
	agnhost, err := FromArchive(agnhostArchive, AgnhostName)
	if err != nil {
		return nil, err
	}
	setuid := newTree()
	if err := setuid.copy("usr/local/bin/nnp", nnp); err != nil {
		return nil, err
	}
	setuid.chmod("usr/local/bin/nnp", 0o4755)
	refs := map[name.Tag]v1.Image{}
	for _, image := range UpstreamNames() {
		repository, err := name.NewTag(image)
		if err != nil {
			return nil, fmt.Errorf("parse image name %s: %w", image, err)
		}
		kind := filepath.Base(repository.RepositoryStr())
		// The variable makes images of one content different images.
		config := v1.Config{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "IMAGE=" + image}}
		base, own := busybox, newTree()
		switch kind {
		case "agnhost":
			base, config.Entrypoint, config.Cmd = agnhost, []string{"/agnhost"}, []string{"pause"}
		case "kitten", "nautilus":
			base, config.Entrypoint, config.Cmd = agnhost, []string{"/agnhost"}, []string{"test-webserver"}
			own.file("data.json", 0o644, fmt.Appendf(nil, "{\"image\": %q}\n", kind+".jpg"))
			own.file("etc/os-release", 0o644, []byte("NAME=\"Alpine Linux\"\nID=alpine\n"))
		case "nginx":
			config.Cmd = []string{"httpd", "-f", "-p", "80", "-h", "/usr/share/nginx/html"}
			own.file("usr/share/nginx/html/index.html", 0o644, []byte("<h1>Welcome to nginx!</h1>\n"))
		case "nonewprivs":
			config.Cmd, own = []string{"nnp"}, setuid
		case "nonroot":
			config.Cmd, config.User = []string{"sh"}, "1234"
		}
		if refs[repository], err = above(base, own, config); err != nil {
			return nil, err
		}
	}
	return refs, nil
}

// above puts a layer on an image.
func above(base v1.Image, own *tree, config v1.Config) (v1.Image, error) {
	layers, err := base.Layers()
	if err != nil {
		return nil, fmt.Errorf("read the layers of the base image: %w", err)
	}
	layer, err := own.layer()
	if err != nil {
		return nil, err
	}
	return image(config, append(layers, layer)...)
}
