package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
)

// Name is the plugin's name, part of paths on the disk.
const Name = "kubernetes.io/git-repo"

// errDisabled is the kubelet's answer since Kubernetes 1.33, to the letter.
var errDisabled = errors.New("git-repo volume plugin has been disabled; if necessary, it may be re-enabled by enabling the feature-gate `GitRepoVolumeDriver`")

// cleanUp bounds the removal of half a clone, whose own time may be over.
const cleanUp = time.Minute

// Config is what the plugin needs to know.
type Config struct {
	// Enabled lets pods have such volumes. The kubelet's cannot be enabled any more.
	Enabled bool
	// Limits bound a clone; what is zero is the default.
	Limits Limits
	// AllowLocal lets repositories be on the node itself and at link-local addresses,
	// where metadata services are. It is for tests.
	AllowLocal bool
}

// Limits bound what one volume can cost. What is zero is what [New] says.
type Limits struct {
	// Timeout bounds a clone as a whole. 5 minutes.
	Timeout time.Duration
	// Received is how much a server may send, in bytes. 256 MiB.
	Received int64
	// Written is how large a volume may get, history included, in bytes. 1 GiB.
	Written int64
	// Files is how many files, directories and links a volume may have. 100,000.
	Files int
	// Objects is how many objects the history may have. 300,000.
	Objects int
	// Object is how large one object may be, in bytes. 64 MiB.
	Object int64
	// Unpacked is how large all objects may be together, in bytes. 8 GiB.
	Unpacked int64
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Timeout:  or(l.Timeout, 5*time.Minute),
		Received: or(l.Received, 256<<20),
		Written:  or(l.Written, 1<<30),
		Files:    or(l.Files, 100_000),
		Objects:  or(l.Objects, 300_000),
		Object:   or(l.Object, 64<<20),
		Unpacked: or(l.Unpacked, 8<<30),
	}
}

func or[T ~int | ~int64](v, fallback T) T {
	if v > 0 {
		return v
	}
	return fallback
}

// New returns the plugin.
func New(cfg Config) volume.Plugin {
	return &plugin{
		enabled: cfg.Enabled,
		limits:  cfg.Limits.withDefaults(),
		network: newNetwork(cfg.AllowLocal),
		unpack:  make(chan struct{}, 1),
		selinux: volume.SELinux(),
	}
}

type plugin struct {
	enabled bool
	limits  Limits
	network *network
	// unpack is held while a pack is unpacked, which takes memory and a processor: one
	// at a time. Nobody who waits for a server holds it.
	unpack chan struct{}
	// selinux: content has to be relabelled for the containers.
	selinux bool
}

// Name implements [volume.Plugin].
func (*plugin) Name() string { return Name }

// Supports implements [volume.Plugin].
func (*plugin) Supports(s volume.Spec) bool { return s.Volume != nil && s.Volume.GitRepo != nil }

// Mount implements [volume.Plugin]. A clone that does not succeed leaves nothing;
// one that has succeeded is never touched again.
func (p *plugin) Mount(ctx context.Context, req volume.Request) (pod.Volume, error) {
	src, err := parse(req.Volume.GitRepo)
	if err != nil {
		return pod.Volume{}, err
	}
	if !p.enabled {
		return pod.Volume{}, errDisabled
	}
	if err := src.locate(); err != nil {
		return pod.Volume{}, err
	}
	done := pod.Volume{HostPath: req.Ref.Dir(), SELinux: p.selinux}
	if req.Ref.Ready() && req.Ref.Made() {
		return done, nil
	}
	if err := remove(ctx, req.Ref); err != nil { // what a crash has left of an earlier try
		return pod.Volume{}, err
	}
	err = p.fill(ctx, req, src)
	if err == nil {
		err = req.Ref.SetReady()
	}
	if err != nil {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
		defer cancel()
		return pod.Volume{}, errors.Join(err, remove(late, req.Ref))
	}
	return done, nil
}

// Unmount implements [volume.Plugin].
func (*plugin) Unmount(ctx context.Context, ref volume.Ref) error {
	if err := ref.Unmount(ctx); err != nil {
		return err
	}
	return remove(ctx, ref)
}

// remove deletes the volume. It fails where something is mounted.
func remove(ctx context.Context, ref volume.Ref) error {
	if err := ref.ClearReady(); err != nil {
		return err
	}
	return ref.Remove(ctx)
}

// fill clones the repository into the volume's directory, which it makes.
func (p *plugin) fill(ctx context.Context, req volume.Request, src *source) error {
	if err := req.Ref.Make(0o777); err != nil {
		return err
	}
	root, err := open(req.Ref)
	if err != nil {
		return err
	}
	defer root.Close()
	to := newSink(root, volume.Group(req.Pod), p.limits)
	if err := to.share("."); err != nil {
		return err
	}
	tooLong := fmt.Errorf("it has taken longer than %v, which is the limit", p.limits.Timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, p.limits.Timeout, tooLong)
	defer cancel()
	if err := p.clone(ctx, src, to); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("clone %s: %w", src.url, err)
	}
	return nil
}

// open opens the volume's directory, which has just been made.
func open(ref volume.Ref) (*os.Root, error) {
	base, err := os.OpenRoot(ref.Root)
	if err != nil {
		return nil, fmt.Errorf("open root directory: %w", err)
	}
	defer base.Close()
	rel, err := filepath.Rel(ref.Root, ref.Dir())
	if err != nil {
		return nil, err
	}
	root, err := base.OpenRoot(rel)
	if err != nil {
		return nil, fmt.Errorf("open directory of %s: %w", ref, err)
	}
	return root, nil
}
