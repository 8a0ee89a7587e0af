package machine

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"nodeagent.dev/nodeagent/test/bed/build"
)

// guestPackages are Debian's packages in the machine, beside the essential ones.
func guestPackages() []string {
	return []string{
		"systemd", "systemd-sysv", "dbus", "udev", "kmod", "procps", "util-linux", "mount", "iproute2", "iptables", "conntrack",
		"ethtool", "socat", "openssh-server", "ca-certificates", "libseccomp2", "linux-image-cloud-amd64",
	}
}

const (
	// rootfsRecipe changes when what makes the root file system does.
	rootfsRecipe = "1"
	defaultSuite = "trixie"
	// defaultMirror is used on hosts that are not Debian's.
	defaultMirror = "http://deb.debian.org/debian"
	rootfsFile    = "rootfs.tar"
)

// suite is the release of Debian in the machine: that of the host, since the
// machine runs programs that were linked on the host.
func suite() string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return defaultSuite
	}
	defer f.Close()
	values := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), "=")
		values[key] = strings.Trim(value, `"`)
	}
	if values["ID"] == "debian" && values["VERSION_CODENAME"] != "" {
		return values["VERSION_CODENAME"]
	}
	return defaultSuite
}

var mirrorURL = regexp.MustCompile(`(?m)^[^#\n]*?(https?://[^\s]+/debian)/?(\s|$)`)

// mirror is the host's mirror of Debian.
func mirror() string {
	files, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	for _, file := range append([]string{"/etc/apt/sources.list"}, files...) {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if m := mirrorURL.FindSubmatch(content); m != nil {
			return string(m[1])
		}
	}
	return defaultMirror
}

// rootfs makes the archive of a Debian that boots, once, and returns its path.
func rootfs(ctx context.Context, b *build.Builder) (string, error) {
	if runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("the machine for tests is made for amd64, this is %s", runtime.GOARCH)
	}
	release, packages := suite(), strings.Join(guestPackages(), ",")
	key := "vm-rootfs-" + release + "-" + digest(rootfsRecipe, packages)
	return b.Once(ctx, key, rootfsFile, func(ctx context.Context, tmp string) error {
		b.Progress("making a Debian %s for the machine (first time only, about 1 min, downloads 150 MB) ...", release)
		start := time.Now()
		// Nobody looks at documentation in there.
		err := run(ctx, nil, "nice", "-n", "10", "mmdebstrap", "--mode=root", "--variant=minbase", "--quiet",
			"--aptopt=Acquire::Check-Valid-Until \"false\"",
			"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
			"--dpkgopt=path-exclude=/usr/share/doc/*", "--include="+packages,
			release, filepath.Join(tmp, rootfsFile), mirror())
		if err != nil {
			return fmt.Errorf("make a Debian %s from %s: %w", release, mirror(), err)
		}
		b.Progress("made it in %s", time.Since(start).Round(time.Second))
		return nil
	})
}
