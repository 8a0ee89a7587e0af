package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// FromDebian returns the path of a file of a Debian package, like
// "usr/bin/prometheus". The package is downloaded and unpacked into the cache, not
// installed: no service is started, no user made, and nothing of what it depends
// on is there, so it is for programs that need the C library only.
func (b *Builder) FromDebian(ctx context.Context, pkg, file string) (string, error) {
	return b.Once(ctx, "deb-"+pkg+"-"+runtime.GOARCH, file, func(ctx context.Context, tmp string) error {
		b.Progress("downloading Debian's package %s (first time only) ...", pkg)
		if err := unpackDebian(ctx, b.Progress, tmp, pkg); err != nil {
			return fmt.Errorf("get Debian's package %s: %w", pkg, err)
		}
		if _, err := os.Stat(filepath.Join(tmp, file)); err != nil {
			return fmt.Errorf("Debian's package %s is not what it was: %w", pkg, err)
		}
		return nil
	})
}

// unpackDebian downloads a package and unpacks it, both in dir.
func unpackDebian(ctx context.Context, progress func(string, ...any), dir, pkg string) error {
	for _, program := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("this is not Debian: %w", err)
		}
	}
	// The user of apt's own cannot write to the folder.
	download := []string{"-o", "APT::Sandbox::User=root", "-q", "download", pkg}
	if err := aptGetIn(ctx, dir, download...); err != nil {
		if ctx.Err() != nil || os.Geteuid() != 0 {
			return err
		}
		progress("package lists are old or absent: apt-get update ...")
		if err := aptGet(ctx, "update", "-q"); err != nil {
			return err
		}
		if err := aptGetIn(ctx, dir, download...); err != nil {
			return err
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, pkg+"_*.deb"))
	if err != nil || len(found) != 1 {
		return errors.Join(fmt.Errorf("apt-get left %d files %s_*.deb, want one", len(found), pkg), err)
	}
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "--extract", found[0], dir).CombinedOutput(); err != nil {
		return fmt.Errorf("dpkg-deb: %w: %s", err, lastLines(string(out), 5))
	}
	if err := os.Remove(found[0]); err != nil {
		return fmt.Errorf("remove what was unpacked: %w", err)
	}
	return nil
}
