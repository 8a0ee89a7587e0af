package images

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"nodeagent.dev/nodeagent/test/bed/build"
)

// Names under which the images are known in every bed.
const (
	PauseName   = "registry.k8s.io/pause:3.10.2"
	BusyboxName = "registry.k8s.io/e2e-test-images/busybox:1.37.0-2"
	AgnhostName = "registry.k8s.io/e2e-test-images/agnhost:2.66.1"
)

//go:embed pause/pause.c
var pauseSource []byte

// recipe is raised when the content of an image changes by other means than
// the files it is made from.
const recipe = "3"

func architecture() string { return runtime.GOARCH }

func busyboxTags() []string {
	return []string{BusyboxName, "docker.io/library/busybox:1.37", "docker.io/library/busybox:latest"}
}

// Archives builds what is missing and returns the archives to import: pause
// and busybox in one, agnhost (when wanted) in another.
func Archives(ctx context.Context, b *build.Builder, agnhost bool) ([]string, error) {
	if err := build.Prerequisites(ctx, b.Progress, "busybox-static", "bash-static", "gcc", "libc6-dev"); err != nil {
		return nil, err
	}
	base, err := baseArchive(ctx, b)
	if err != nil || !agnhost {
		return []string{base}, err
	}
	paths, err := b.Ensure(ctx, "agnhost")
	if err != nil {
		return nil, err
	}
	program := paths["agnhost"]
	key := cacheKey("image-agnhost", agnhostRecipe, base, program)
	extra, err := b.Once(ctx, key, "agnhost.tar", func(_ context.Context, tmp string) error {
		return writeAgnhost(filepath.Join(tmp, "agnhost.tar"), base, program)
	})
	return []string{base, extra}, err
}

func cacheKey(kind string, parts ...string) string {
	sum := sha256.Sum256([]byte(recipe + strings.Join(parts, "\x00")))
	return kind + "-" + hex.EncodeToString(sum[:])[:12]
}

// baseArchive makes the pause and busybox images.
func baseArchive(ctx context.Context, b *build.Builder) (string, error) {
	fetch, err := os.ReadFile(filepath.Join(b.CheckoutDir(), "test", "bed", "images", "fetch", "main.go"))
	if err != nil {
		return "", fmt.Errorf("read a program for the busybox image: %w", err)
	}
	parts := []string{string(pauseSource), string(fetch)}
	for _, program := range []string{"/bin/busybox", "/bin/bash-static"} {
		info, err := os.Stat(program)
		if err != nil {
			return "", fmt.Errorf("look at a program for the busybox image: %w", err)
		}
		parts = append(parts, fmt.Sprint(info.Size(), info.ModTime()))
	}
	return b.Once(ctx, cacheKey("image-base", parts...), "base.tar", func(ctx context.Context, tmp string) error {
		b.Progress("making the pause and busybox images ...")
		start := time.Now()
		fetchProgram, err := b.Program(ctx, "./test/bed/images/fetch", "fetch", "-s -w")
		if err != nil {
			return err
		}
		if err := writeBase(ctx, tmp, fetchProgram); err != nil {
			return err
		}
		b.Progress("made the pause and busybox images in %s", time.Since(start).Round(time.Second))
		return nil
	})
}

func writeBase(ctx context.Context, dir, fetchProgram string) error {
	pause, err := pauseImage(ctx, dir)
	if err != nil {
		return err
	}
	busybox, err := busyboxImage(ctx, fetchProgram)
	if err != nil {
		return err
	}
	refs := map[name.Tag]v1.Image{}
	if err := tag(refs, pause, PauseName); err != nil {
		return err
	}
	if err := tag(refs, busybox, busyboxTags()...); err != nil {
		return err
	}
	return write(filepath.Join(dir, "base.tar"), refs)
}

func tag(refs map[name.Tag]v1.Image, img v1.Image, names ...string) error {
	for _, n := range names {
		t, err := name.NewTag(n)
		if err != nil {
			return fmt.Errorf("parse image name %s: %w", n, err)
		}
		refs[t] = img
	}
	return nil
}

func write(path string, refs map[name.Tag]v1.Image) error {
	if err := tarball.MultiWriteToFile(path, refs); err != nil {
		return fmt.Errorf("write image archive %s: %w", path, err)
	}
	return nil
}

func pauseImage(ctx context.Context, dir string) (v1.Image, error) {
	source, program := filepath.Join(dir, "pause.c"), filepath.Join(dir, "pause")
	if err := os.WriteFile(source, pauseSource, 0o600); err != nil {
		return nil, fmt.Errorf("write the source of pause: %w", err)
	}
	cmd := exec.CommandContext(ctx, "gcc", "-Os", "-s", "-static", "-o", program, source)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile pause with gcc (it needs libc6-dev): %w\n%s", err, out)
	}
	t := newTree()
	if err := t.copy("pause", program); err != nil {
		return nil, err
	}
	layer, err := t.layer()
	if err != nil {
		return nil, err
	}
	return image(v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535", WorkingDir: "/"}, layer)
}

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n" +
		"www-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
	group = "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nnogroup:x:65534:\n"
)

// busyboxImage has every applet in its usual place. The shell is bash: that of
// busybox drops environment names that are no identifiers. wget is ours:
// busybox's own cannot resolve names when it is static.
func busyboxImage(ctx context.Context, fetchProgram string) (v1.Image, error) {
	list, err := exec.CommandContext(ctx, "/bin/busybox", "--list-full").Output()
	if err != nil {
		return nil, fmt.Errorf("list what busybox can do: %w", err)
	}
	t := newTree()
	for applet := range strings.FieldsSeq(string(list)) {
		t.link(applet, "/bin/busybox")
	}
	for file, from := range map[string]string{"bin/busybox": "/bin/busybox", "bin/bash": "/bin/bash-static", "bin/fetch": fetchProgram} {
		delete(t.entries, file)
		if err := t.copy(file, from); err != nil {
			return nil, err
		}
	}
	delete(t.entries, "usr/bin/wget")
	t.link("bin/sh", "/bin/bash")
	t.link("usr/bin/wget", "/bin/fetch")
	t.link("usr/bin/curl", "/bin/fetch")
	t.file("etc/passwd", 0o644, []byte(passwd))
	t.file("etc/group", 0o644, []byte(group))
	t.file("etc/nsswitch.conf", 0o644, []byte("hosts: files dns\n"))
	for _, dir := range []string{"dev", "etc", "home", "proc", "sys", "usr", "var", "var/www", "var/spool", "lib", "mnt", "run"} {
		t.folder(dir, 0o755)
	}
	t.folder("tmp", 0o1777)
	t.folder("var/tmp", 0o1777)
	t.folder("root", 0o700)
	layer, err := t.layer()
	if err != nil {
		return nil, err
	}
	return image(v1.Config{
		Cmd: []string{"sh"}, Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	}, layer)
}

// Busybox reads the busybox image back from the archive made by Archives.
func Busybox(archive string) (v1.Image, error) { return FromArchive(archive, BusyboxName) }
