package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/build"
	"nodeagent.dev/nodeagent/test/bed/images"
)

const upstreamRegistry = "registry.k8s.io"

// serveImages gives the bed the images of upstream's tests under their own
// names: the runtime has them, and their registry is the bed's, for the tests
// that always pull.
func serveImages(ctx context.Context, builder *build.Builder, b *bed.Bed) error {
	archives, err := images.Archives(ctx, builder, true)
	if err != nil {
		return err
	}
	upstream, err := images.Upstream(ctx, builder)
	if err != nil {
		return err
	}
	if _, err := b.Ctr(ctx, "images", "import", "--local", upstream); err != nil {
		return fmt.Errorf("import the images of upstream's tests: %w", err)
	}
	from := map[string]string{
		images.PauseName: archives[0], images.BusyboxName: archives[0], images.AgnhostName: archives[1],
	}
	for _, image := range images.UpstreamNames() {
		from[image] = upstream
	}
	for image, archive := range from {
		img, err := images.FromArchive(archive, image)
		if err != nil {
			return err
		}
		if _, err := b.PushImage(ctx, strings.TrimPrefix(image, upstreamRegistry+"/"), img); err != nil {
			return err
		}
	}
	hosts := filepath.Join(b.Dir, "registries", upstreamRegistry, "hosts.toml")
	if err := os.MkdirAll(filepath.Dir(hosts), 0o700); err != nil {
		return fmt.Errorf("create the folder of a registry: %w", err)
	}
	text := fmt.Sprintf("server = 'http://%[1]s'\n\n[host.'http://%[1]s']\ncapabilities = ['pull', 'resolve']\n", b.Registry)
	if err := os.WriteFile(hosts, []byte(text), 0o644); err != nil {
		return fmt.Errorf("say where %s is: %w", upstreamRegistry, err)
	}
	return nil
}
