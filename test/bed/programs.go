package bed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"nodeagent.dev/nodeagent/test/bed/build"
	"nodeagent.dev/nodeagent/test/bed/images"
)

// programs are the paths of what a bed runs.
type programs struct {
	components map[string]string
	bed        string
	nodeagent  string
	archives   []string
}

// makePrograms builds what the bed needs and does not have yet.
func makePrograms(ctx context.Context, b *build.Builder, o Options) (*programs, error) {
	if err := build.Prerequisites(ctx, b.Progress, "iptables"); err != nil {
		return nil, err
	}
	names := build.Runtime()
	if !o.Standalone {
		names = append(names, build.ControlPlane()...)
	}
	if o.Agent == Kubelet {
		names = append(names, "kubelet")
	}
	p := &programs{}
	var err error
	if p.components, err = b.Ensure(ctx, names...); err != nil {
		return nil, err
	}
	if p.archives, err = images.Archives(ctx, b, o.Agnhost); err != nil {
		return nil, err
	}
	if p.bed, err = b.Program(ctx, "./test/bed/cmd/bed", "bed", "-s -w"); err != nil {
		return nil, err
	}
	if o.Agent == Nodeagent {
		p.nodeagent, err = nodeagentProgram(ctx, b)
	}
	return p, err
}

// nodeagentProgram is the one named by the environment or that of the checkout.
func nodeagentProgram(ctx context.Context, b *build.Builder) (string, error) {
	if path := os.Getenv(BinEnv); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("use the agent named by %s: %w", BinEnv, err)
		}
		return filepath.Abs(path) //nolint:wrapcheck // cannot fail for what exists
	}
	version := "0.0.0-bed"
	if out, err := exec.CommandContext(ctx, "git", "-C", b.CheckoutDir(), "describe", "--always", "--tags", "--dirty").Output(); err == nil {
		version += "." + strings.TrimSpace(string(out))
	}
	const variable = "-X main.version="
	return b.Program(ctx, "./cmd/nodeagent", "nodeagent", variable+version)
}

// installPrograms puts what the bed runs into its own folder: containerd finds
// its shim there, people their tools, and a later build changes nothing.
func (b *Bed) installPrograms() error {
	plugins := map[string]bool{}
	for _, name := range build.CNIPlugins() {
		plugins[name] = true
	}
	for _, dir := range []string{b.BinDir, filepath.Join(b.Dir, "cni/bin"), filepath.Join(b.Dir, "tmp")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("create a folder for programs: %w", err)
		}
	}
	for name, path := range b.programs.components {
		dir := b.BinDir
		if plugins[name] {
			dir = filepath.Join(b.Dir, "cni/bin")
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("install %s into the bed: %w", name, err)
		}
	}
	if b.programs.nodeagent == "" {
		return nil
	}
	return installCopy(b.programs.nodeagent, filepath.Join(b.BinDir, Nodeagent))
}

// installCopy links a program or, across file systems, copies it.
func installCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("install a program into the bed: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return fmt.Errorf("install a program into the bed: %w", err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("install %s into the bed: %w", filepath.Base(from), err)
	}
	return nil
}

// environment is that of every component: nothing of the caller's, no proxies.
func (b *Bed) environment() []string {
	return []string{
		"PATH=" + b.BinDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + filepath.Join(b.Dir, "tmp"), "TMPDIR=" + filepath.Join(b.Dir, "tmp"), "LC_ALL=C.UTF-8",
	}
}

// tool runs one of the bed's client programs and returns its output.
func (b *Bed) tool(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(b.BinDir, name), args...)
	cmd.Env = b.environment()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// Crictl runs crictl against the bed's containerd.
func (b *Bed) Crictl(ctx context.Context, args ...string) (string, error) {
	return b.tool(ctx, "crictl", append([]string{"--config", filepath.Join(b.Dir, "crictl.yaml")}, args...)...)
}

// Kubectl runs kubectl as the bed's administrator.
func (b *Bed) Kubectl(ctx context.Context, args ...string) (string, error) {
	return b.tool(ctx, "kubectl", append([]string{"--kubeconfig", b.Kubeconfig}, args...)...)
}

// Ctr runs containerd's own client in the namespace of Kubernetes.
func (b *Bed) Ctr(ctx context.Context, args ...string) (string, error) {
	return b.tool(ctx, "ctr", append([]string{"--address", b.CRISocket, "--namespace", "k8s.io"}, args...)...)
}
