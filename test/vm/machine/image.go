package machine

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"nodeagent.dev/nodeagent/test/bed/build"
	"nodeagent.dev/nodeagent/test/bed/images"
)

//go:embed all:guest
var guest embed.FS

// Files of an image.
const (
	diskFile, stateFile, kernelFile, initrdFile, keyFile = "disk.raw", "state", "vmlinuz", "initrd.img", "id_ed25519"
)

// imageRecipe changes when the code of this file does, or the machine of QEMU.
const imageRecipe = "1"

// diskSize is that of the file system; what is empty of it takes no room.
const diskSize = "6G"

// outdated is the age at which images of former versions are removed.
const outdated = 14 * 24 * time.Hour

// Image is what machines are made from: a disk, and the memory of a machine that
// has booted from it and waits. Machines change neither.
type Image struct {
	dir string
}

func (i Image) path(file string) string { return filepath.Join(i.dir, file) }

// NewImage returns the image of this version of everything, and makes it when
// there is none.
func NewImage(ctx context.Context, b *build.Builder) (Image, error) {
	if os.Geteuid() != 0 {
		return Image{}, errors.New("making a machine needs root: its file system belongs to root")
	}
	if err := installPackages(ctx, b.Progress); err != nil {
		return Image{}, err
	}
	root, err := rootfs(ctx, b)
	if err != nil {
		return Image{}, err
	}
	parts := parts{rootfs: root}
	if parts.programs, err = b.Ensure(ctx, append(build.Runtime(), "kubelet")...); err != nil {
		return Image{}, err
	}
	if parts.archives, err = images.Archives(ctx, b, false); err != nil {
		return Image{}, err
	}
	key, err := parts.key(ctx)
	if err != nil {
		return Image{}, err
	}
	path, err := b.Once(ctx, key, stateFile, func(ctx context.Context, tmp string) error {
		b.Progress("making the machine: a disk, and a first boot without KVM (first time only, about 2 min) ...")
		start := time.Now()
		if err := parts.make(ctx, tmp, b.Progress); err != nil {
			return fmt.Errorf("make the image of the machine: %w", err)
		}
		b.Progress("made the machine in %s", time.Since(start).Round(time.Second))
		removeOutdated(b.Cache())
		return nil
	})
	if err != nil {
		return Image{}, err
	}
	now := time.Now()
	_ = os.Chtimes(filepath.Dir(path), now, now) // see removeOutdated
	return Image{filepath.Dir(path)}, nil
}

// parts are what an image is made of.
type parts struct {
	rootfs   string
	programs map[string]string
	archives []string
}

// key names the image by everything that is in it, and by QEMU's version: the
// saved state is for that only.
func (p parts) key(ctx context.Context) (string, error) {
	version, err := qemuVersion(ctx)
	if err != nil {
		return "", err
	}
	inside := []string{imageRecipe, version, strings.Join(machineArgs(), " "), p.rootfs, diskSize}
	for _, name := range append(build.Runtime(), "kubelet") {
		inside = append(inside, p.programs[name])
	}
	inside = append(inside, p.archives...)
	err = fs.WalkDir(guest, "guest", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := guest.ReadFile(path)
		inside = append(inside, path, string(content))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the machine's configuration: %w", err)
	}
	return "vm-image-" + digest(inside...), nil
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])[:12]
}

// make makes the image's files in dir.
func (p parts) make(ctx context.Context, dir string, progress func(string, ...any)) error {
	image := Image{dir}
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return fmt.Errorf("create a folder for the file system: %w", err)
	}
	if err := run(ctx, nil, "tar", "--numeric-owner", "-xf", p.rootfs, "-C", root); err != nil {
		return fmt.Errorf("unpack %s: %w", p.rootfs, err)
	}
	if err := p.install(ctx, image, root); err != nil {
		return err
	}
	progress("  putting %s into a disk ...", root)
	disk := image.path(diskFile)
	if err := run(ctx, nil, "nice", "-n", "10", "mkfs.ext4", "-q", "-F", "-d", root, disk, diskSize); err != nil {
		return fmt.Errorf("make the disk: %w", err)
	}
	if err := os.RemoveAll(root); err != nil {
		return fmt.Errorf("remove what the disk was made from: %w", err)
	}
	return firstBoot(ctx, image, progress)
}

// install puts everything into the file system of the machine.
func (p parts) install(ctx context.Context, image Image, root string) error {
	for name, file := range map[string]string{"vmlinuz-*": kernelFile, "initrd.img-*": initrdFile} {
		found, err := filepath.Glob(filepath.Join(root, "boot", name))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("find the kernel: %d files %s in /boot, want one", len(found), name)
		}
		if err := os.Rename(found[0], image.path(file)); err != nil {
			return fmt.Errorf("take the kernel: %w", err)
		}
	}
	if err := installFiles(root); err != nil {
		return err
	}
	plugins := map[string]bool{}
	for _, name := range build.CNIPlugins() {
		plugins[name] = true
	}
	for name, path := range p.programs {
		target := filepath.Join(root, "usr/local/bin", name)
		if plugins[name] {
			target = filepath.Join(root, "opt/cni/bin", name)
		}
		if err := copyFile(path, target, 0o755); err != nil {
			return err
		}
	}
	for i, archive := range p.archives {
		if err := copyFile(archive, filepath.Join(root, "root/images", fmt.Sprintf("%d.tar", i)), 0o600); err != nil {
			return err
		}
	}
	if err := run(ctx, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "node", "-f", image.path(keyFile)); err != nil {
		return fmt.Errorf("make the key of the machine's shell: %w", err)
	}
	return copyFile(image.path(keyFile)+".pub", filepath.Join(root, "root/.ssh/authorized_keys"), 0o600)
}

// installFiles writes the files of guest/ and switches services on and off.
func installFiles(root string) error {
	err := fs.WalkDir(guest, "guest", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := template.ParseFS(guest, path)
		if err != nil {
			return fmt.Errorf("parse %s: %w", path, err)
		}
		var text strings.Builder
		if err := content.Execute(&text, map[string]string{"Pause": images.PauseName}); err != nil {
			return fmt.Errorf("fill in %s: %w", path, err)
		}
		return writeFile(filepath.Join(root, strings.TrimPrefix(path, "guest/")), text.String(), 0o644)
	})
	if err != nil {
		return fmt.Errorf("configure the machine: %w", err)
	}
	const units = "etc/systemd/system"
	links := map[string]string{
		"multi-user.target.wants/containerd.service":       "/etc/systemd/system/containerd.service",
		"multi-user.target.wants/agent.service":            "/etc/systemd/system/agent.service",
		"multi-user.target.wants/systemd-networkd.service": "/lib/systemd/system/systemd-networkd.service",
		"sockets.target.wants/systemd-networkd.socket":     "/lib/systemd/system/systemd-networkd.socket",
	}
	// What would run in the middle of a test.
	for _, unit := range []string{
		"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
		"fstrim.timer", "logrotate.timer", "man-db.timer", "systemd-networkd-wait-online.service", "systemd-timesyncd.service",
	} {
		links[unit] = "/dev/null"
	}
	for name, target := range links {
		link := filepath.Join(root, units, name)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return fmt.Errorf("configure the machine: %w", err)
		}
		if err := os.RemoveAll(link); err != nil {
			return fmt.Errorf("configure the machine: %w", err)
		}
		if err := os.Symlink(target, link); err != nil {
			return fmt.Errorf("configure the machine: %w", err)
		}
	}
	return nil
}

// firstBoot boots the disk, prepares the machine and saves its state.
func firstBoot(ctx context.Context, image Image, progress func(string, ...any)) error {
	m, err := start(ctx, image, Options{Dir: image.dir}, false)
	if err != nil {
		return err
	}
	defer m.Close()
	progress("  booting it ...")
	if err := m.waitShell(ctx, bootTimeout); err != nil {
		return err
	}
	progress("  importing images ...")
	const prepare = `set -e
for i in $(seq 600); do ctr version >/dev/null 2>&1 && break; sleep 0.5; done
for a in /root/images/*.tar; do ctr --namespace k8s.io images import --local "$a" >/dev/null; done
rm -r /root/images
systemctl is-system-running --wait >/dev/null || { systemctl --failed; exit 1; }
iptables -t nat -L >/dev/null
sync`
	if _, err := m.Run(ctx, prepare); err != nil {
		return fmt.Errorf("prepare the machine: %w", err)
	}
	progress("  saving its state ...")
	return m.save(ctx, image.path(stateFile))
}

// removeOutdated removes images that no checkout has used for long.
func removeOutdated(cache string) {
	old, _ := filepath.Glob(filepath.Join(cache, "vm-image-*"))
	for _, dir := range old {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > outdated {
			_ = os.RemoveAll(dir)
		}
	}
}

func writeFile(path, content string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write a file of the machine: %w", err)
	}
	if err := os.RemoveAll(path); err != nil { // a link would lead out
		return fmt.Errorf("write a file of the machine: %w", err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		return fmt.Errorf("write a file of the machine: %w", err)
	}
	return nil
}

func copyFile(from, to string, mode fs.FileMode) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("put %s into the machine: %w", from, err)
	}
	return writeFile(to, string(content), mode)
}
