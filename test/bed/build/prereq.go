package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// evidence tells where a Debian package shows that it is installed.
func evidence(pkg string) []string {
	switch pkg {
	case "gcc", "iptables", "pkg-config":
		return []string{pkg}
	case "busybox-static":
		return []string{"/bin/busybox"}
	case "bash-static":
		return []string{"/bin/bash-static"}
	case "libseccomp-dev":
		return []string{"/usr/include/seccomp.h"}
	case "libc6-dev":
		return []string{"/usr/include/stdlib.h"}
	case "iproute2":
		return []string{"ip"}
	case "mount":
		return []string{"mount"}
	default:
		return []string{pkg}
	}
}

// Prerequisites makes sure that Debian packages are there and installs the
// missing ones with apt-get when it may.
func Prerequisites(ctx context.Context, progress func(string, ...any), packages ...string) error {
	missing := missingPackages(packages)
	if len(missing) == 0 {
		return nil
	}
	list := strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("missing on this system: %s; install them (these are the names of Debian's packages), there is no apt-get here", list)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("missing on this system: %s; run as root: apt-get install -y %s", list, list)
	}
	progress("installing Debian packages: %s ...", list)
	start := time.Now()
	install := append([]string{"install", "-y", "-q", "--no-install-recommends"}, missing...)
	if err := aptGet(ctx, install...); err != nil {
		if ctx.Err() != nil {
			return err
		}
		progress("package lists are old or absent: apt-get update ...")
		if err := aptGet(ctx, "update", "-q"); err != nil {
			return err
		}
		if err := aptGet(ctx, install...); err != nil {
			return err
		}
	}
	if still := missingPackages(missing); len(still) > 0 {
		return fmt.Errorf("apt-get installed %s, but still not found: %s", list, strings.Join(still, " "))
	}
	progress("installed %s in %s", list, time.Since(start).Round(time.Second))
	return nil
}

func missingPackages(packages []string) []string {
	var missing []string
	for _, pkg := range packages {
		for _, sign := range evidence(pkg) {
			if !present(sign) {
				missing = append(missing, pkg)
				break
			}
		}
	}
	return missing
}

func present(sign string) bool {
	if filepath.IsAbs(sign) {
		_, err := os.Stat(sign)
		return !errors.Is(err, os.ErrNotExist)
	}
	if _, err := exec.LookPath(sign); err == nil {
		return true
	}
	_, err := os.Stat(filepath.Join("/usr/sbin", sign))
	return err == nil
}

func aptGet(ctx context.Context, args ...string) error { return aptGetIn(ctx, "", args...) }

// aptGetIn runs apt-get in a folder; empty is the current one.
func aptGetIn(ctx context.Context, dir string, args ...string) error {
	args = append([]string{"-o", "DPkg::Lock::Timeout=120"}, args...)
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, lastLines(output.String(), 15))
	}
	return nil
}
