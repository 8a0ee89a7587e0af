package nfs

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/mount-utils"
	"k8s.io/utils/net"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/claim"
)

// Name is the plugin's name.
const Name = "kubernetes.io/nfs"

const (
	dirMode = 0o750
	// killed is how long a mount command that has been killed may take to end.
	killed = 5 * time.Second
	// cleaning bounds what is done after a mount that failed.
	cleaning = 10 * time.Second
)

// New returns the plugin.
func New(log *zap.Logger) volume.Plugin {
	return &plugin{log: log, detach: volume.Ref.Unmount, force: forceBelow}
}

type plugin struct {
	log *zap.Logger
	// detach unmounts all of a volume, and may not return.
	detach func(volume.Ref, context.Context) error
	// force makes what detach waits for fail, and unmounts.
	force func(dir string) error
}

// Name implements [volume.Plugin].
func (*plugin) Name() string { return Name }

// Supports implements [volume.Plugin].
func (*plugin) Supports(s volume.Spec) bool {
	source, _ := source(s)
	return source != nil
}

// source is what the pod says, or what its claim is bound to; nil: neither is nfs.
func source(s volume.Spec) (*corev1.NFSVolumeSource, bool) {
	switch {
	case s.Persistent != nil:
		return s.Persistent.Spec.NFS, s.ReadOnly // the claim decides, not the volume
	case s.Volume.NFS != nil:
		return s.Volume.NFS, s.Volume.NFS.ReadOnly
	}
	return nil, false
}

// Mount implements [volume.Plugin].
func (p *plugin) Mount(ctx context.Context, req volume.Request) (pod.Volume, error) {
	source, readOnly := source(req.Spec)
	done := pod.Volume{HostPath: req.Ref.Dir(), ReadOnly: readOnly}
	if mounted, err := req.Ref.Mounted(); err != nil || mounted != "" {
		return done, err
	}
	what, err := address(source)
	if err != nil {
		return pod.Volume{}, err
	}
	var options []string
	if readOnly {
		options = append(options, "ro")
	}
	if err := req.Ref.MakeParent(); err != nil {
		return pod.Volume{}, err
	}
	if err := req.Ref.Make(dirMode); err != nil {
		return pod.Volume{}, err
	}
	if err := run(ctx, what, req.Ref.Dir(), claim.MountOptions(req.Persistent, options...)); err != nil {
		p.clean(ctx, req.Ref)
		return pod.Volume{}, err
	}
	return done, nil
}

// address is what mount(8) calls a directory of a server.
func address(source *corev1.NFSVolumeSource) (string, error) {
	server := source.Server
	if net.IsIPv6String(server) {
		server = "[" + server + "]"
	}
	if strings.HasPrefix(server, "-") { // it would be an option of the command
		return "", fmt.Errorf("%q is not the name of a server", server)
	}
	return server + ":" + source.Path, nil
}

// run mounts. The errors look as those of the kubelet.
func run(ctx context.Context, what, dir string, options []string) error {
	args, shown := mount.MakeMountArgsSensitive(what, dir, "nfs", options, nil)
	cmd := exec.CommandContext(ctx, "mount", args...)
	// The helper that waits for the server is a child of the command: the context
	// ends both.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killed
	output, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return fmt.Errorf("mount failed: %w\nMounting command: mount\nMounting arguments: %s\nOutput: %s", err, shown, output)
}

// clean takes away what a mount that failed has left.
func (p *plugin) clean(ctx context.Context, ref volume.Ref) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleaning)
	defer cancel()
	if err := p.Unmount(ctx, ref); err != nil {
		p.log.Warn("cannot clean up after a mount that failed", zap.Stringer("volume", ref), zap.Error(err))
	}
}

// Unmount implements [volume.Plugin].
func (p *plugin) Unmount(ctx context.Context, ref volume.Ref) error {
	if err := p.unmount(ctx, ref); err != nil {
		return err
	}
	return ref.Remove(ctx)
}
