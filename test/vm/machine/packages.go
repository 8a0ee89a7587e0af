package machine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// needed are the programs that have to be on the host, and Debian's packages
// with them.
func needed() map[string]string {
	return map[string]string{
		"mmdebstrap": "mmdebstrap", "qemu-system-x86_64": "qemu-system-x86", "ssh": "openssh-client", "ssh-keygen": "openssh-client",
		"mkfs.ext4": "e2fsprogs", "tar": "tar", "nice": "coreutils",
	}
}

// installPackages installs what is missing on the host.
func installPackages(ctx context.Context, progress func(string, ...any)) error {
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	list := strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("missing on this system: %s; install them (these are the names of Debian's packages), there is no apt-get here", list)
	}
	progress("installing Debian packages: %s ...", list)
	install := append([]string{"install", "-y", "-q", "--no-install-recommends"}, missing...)
	if err := aptGet(ctx, install...); err != nil {
		progress("package lists are old or absent: apt-get update ...")
		if err := aptGet(ctx, "update", "-q"); err != nil {
			return err
		}
		if err := aptGet(ctx, install...); err != nil {
			return err
		}
	}
	if still := missingPackages(); len(still) > 0 {
		return fmt.Errorf("apt-get installed %s, but still not found: programs of %s", list, strings.Join(still, " "))
	}
	return nil
}

func missingPackages() []string {
	var missing []string
	for program, pkg := range needed() {
		if _, err := find(program); err != nil && !slices.Contains(missing, pkg) {
			missing = append(missing, pkg)
		}
	}
	slices.Sort(missing)
	return missing
}

// find looks for a program, also where administrators have theirs.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	path := "/usr/sbin/" + program
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find program %s: %w", program, err)
	}
	return path, nil
}

func aptGet(ctx context.Context, args ...string) error {
	return run(ctx, []string{"DEBIAN_FRONTEND=noninteractive"}, "apt-get", append([]string{"-o", "DPkg::Lock::Timeout=120"}, args...)...)
}

// run runs a program of the host to its end; an error has the end of its output.
func run(ctx context.Context, env []string, program string, args ...string) error {
	path, err := find(program)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), env...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, end(output.String(), 2000))
	}
	return nil
}

// end is the last part of a text, n bytes at most.
func end(text string, n int) string {
	text = strings.TrimSpace(text)
	if len(text) > n {
		text = "..." + text[len(text)-n:]
	}
	return text
}
