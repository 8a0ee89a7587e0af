package bed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"nodeagent.dev/nodeagent/test/bed/build"
	"nodeagent.dev/nodeagent/test/bed/keeper"
)

// Paths tell where things of a bed are.
type Paths struct {
	// Dir holds everything of the bed.
	Dir string
	// RootDir is the agent's --root-dir.
	RootDir string
	// PodLogsDir is where the runtime writes the logs of containers.
	PodLogsDir string
	// ManifestDir is the agent's staticPodPath.
	ManifestDir string
	// CRISocket is the path of containerd's socket.
	CRISocket string
	// AgentSocket is where nodeagent serves its read-only API.
	AgentSocket string
	// Kubeconfig is that of the administrator; empty when standalone.
	Kubeconfig string
	// KubeletConfig is the agent's KubeletConfiguration file.
	KubeletConfig string
	// BinDir has kubectl, crictl and ctr.
	BinDir string
}

// Bed is a running node and, unless it is standalone, its control plane.
type Bed struct {
	Paths
	// Name is the bed's name, unique on the machine.
	Name string
	// NodeName is the name of the Node object.
	NodeName string
	// NodeIP is the node's address.
	NodeIP string
	// CgroupRoot is the agent's cgroupRoot.
	CgroupRoot string
	// HealthzURL is the agent's health check.
	HealthzURL string
	// Registry is the host and port of the bed's image registry.
	Registry string

	options  Options
	spec     *keeper.Spec
	keeper   *keeper.Client
	hold     *os.File
	ended    chan struct{} // closed when a keeper started here has ended
	programs *programs

	live session
}

// session is what changes while a bed runs.
type session struct {
	mu     sync.Mutex
	agent  string
	client kubernetes.Interface
	config *rest.Config
}

// New starts a bed; Close ends it. Programs that are missing are built first.
func New(ctx context.Context, o Options) (*Bed, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("a bed needs root: it makes cgroups, mounts and network devices")
	}
	builder, err := build.New(o.Output)
	if err != nil {
		return nil, err
	}
	p, err := makePrograms(ctx, builder, o)
	if err != nil {
		return nil, fmt.Errorf("build what bed %s consists of: %w", o.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, o.StartTimeout)
	defer cancel()
	spec, err := allocate(ctx, o)
	if err != nil {
		return nil, err
	}
	b := fromSpec(spec, o)
	b.programs = p
	if err := b.begin(ctx, builder); err != nil {
		kept := b.keepLogs()
		closing := b.Close()
		return nil, errors.Join(fmt.Errorf("start bed %s: %w%s", o.Name, err, kept), closing)
	}
	return b, nil
}

// fromSpec describes the bed without starting anything.
func fromSpec(s *keeper.Spec, o Options) *Bed {
	in := func(name string) string { return filepath.Join(s.Dir, name) }
	b := &Bed{
		Paths: Paths{
			Dir: s.Dir, RootDir: in("agent"), PodLogsDir: in("pods"), ManifestDir: in("manifests"), CRISocket: in("cri.sock"),
			AgentSocket: in("agent/nodeagent.sock"), KubeletConfig: in("kubelet.yaml"), BinDir: in("bin"),
		},
		Name: s.Name, NodeName: o.NodeName, NodeIP: s.Gateway, CgroupRoot: s.CgroupRoot,
		HealthzURL: fmt.Sprintf("http://127.0.0.1:%d/healthz", s.Ports["healthz"]),
		Registry:   fmt.Sprintf("127.0.0.1:%d", s.Ports["registry"]),
		options:    o, spec: s, keeper: keeper.NewClient(s), live: session{agent: o.Agent},
	}
	if !o.Standalone {
		b.Kubeconfig = in("admin.kubeconfig")
	}
	return b
}

// begin writes all files, starts the keeper and brings up the components.
func (b *Bed) begin(ctx context.Context, builder *build.Builder) error {
	start := time.Now()
	if err := writeRuntime(b.spec, b.CRISocket); err != nil {
		return err
	}
	if err := b.installPrograms(); err != nil {
		return err
	}
	if err := newPKI(b.pki(""), b.NodeName, b.NodeIP); err != nil {
		return err
	}
	if err := b.writeControlPlane(); err != nil {
		return err
	}
	if err := b.writeAgent(); err != nil {
		return err
	}
	if err := b.startKeeper(ctx); err != nil {
		return err
	}
	if err := b.bringUp(ctx, builder); err != nil {
		return err
	}
	builder.Progress("bed %s is up after %s", b.Name, time.Since(start).Round(100*time.Millisecond))
	return nil
}

// bringUp starts the components, those in parallel that can be.
func (b *Bed) bringUp(ctx context.Context, builder *build.Builder) error {
	stage := func(name string, do func(context.Context) error) func() error {
		return func() error {
			start := time.Now()
			if err := do(ctx); err != nil {
				return err
			}
			builder.Progress("  %-24s ready after %s", name, time.Since(start).Round(10*time.Millisecond))
			return nil
		}
	}
	var imports errgroup.Group
	var base errgroup.Group
	if !b.options.NoRuntime {
		base.Go(func() error {
			if err := stage("containerd", b.Component("containerd").Start)(); err != nil {
				return err
			}
			imports.Go(stage("images", b.importImages))
			return nil
		})
	}
	if !b.options.Standalone {
		base.Go(func() error {
			if err := stage("etcd", b.Component("etcd").Start)(); err != nil {
				return err
			}
			if err := stage("kube-apiserver", b.Component("kube-apiserver").Start)(); err != nil {
				return err
			}
			imports.Go(stage("kube-controller-manager", b.Component("kube-controller-manager").Start))
			imports.Go(stage("kube-scheduler", b.Component("kube-scheduler").Start))
			return nil
		})
	}
	err := base.Wait()
	if err == nil {
		imports.Go(stage("cluster", b.waitCluster))
		if b.options.Agent != NoAgent {
			imports.Go(stage(b.options.Agent, b.startAgent))
		}
	}
	return errors.Join(err, imports.Wait())
}

func (b *Bed) startAgent(ctx context.Context) error {
	agent := b.Component("agent")
	if b.options.NoWait {
		return agent.launch(ctx)
	}
	if err := agent.Start(ctx); err != nil || b.options.Standalone {
		return err
	}
	return b.WaitNodeReady(ctx)
}

// importImages loads the images into containerd.
func (b *Bed) importImages(ctx context.Context) error {
	for _, archive := range b.programs.archives {
		if _, err := b.Ctr(ctx, "images", "import", "--local", archive); err != nil {
			return fmt.Errorf("import images: %w", err)
		}
	}
	return nil
}

// Close tears the bed down and reports what could not be removed.
func (b *Bed) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	left, err := b.keeper.Shutdown(ctx)
	if b.hold != nil {
		_ = b.hold.Close()
		b.hold = nil
	}
	if b.ended != nil {
		select {
		case <-b.ended:
		case <-ctx.Done():
		}
	}
	if err != nil {
		// The keeper is gone or never came up: remove what is on disk.
		if _, statErr := os.Stat(b.Dir); errors.Is(statErr, os.ErrNotExist) {
			return nil
		}
		if left, err = keeper.Clean(ctx, b.Dir); err != nil {
			return fmt.Errorf("tear down bed %s: %w", b.Name, err)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("tear down bed %s: not removed: %v", b.Name, left)
	}
	return nil
}

// Detach lets the bed live on after this process; `bed down` ends it.
func (b *Bed) Detach(ctx context.Context) error {
	if err := b.keeper.Detach(ctx); err != nil {
		return fmt.Errorf("detach from bed %s: %w", b.Name, err)
	}
	return nil
}

// Leftovers lists everything that exists of the bed right now; after Close it
// is empty.
func (b *Bed) Leftovers(ctx context.Context) ([]string, error) { return keeper.Leftovers(ctx, b.spec) }

// SetRegistry changes how the bed's image registry behaves.
func (b *Bed) SetRegistry(ctx context.Context, knobs keeper.RegistryKnobs) error {
	return b.keeper.Registry(ctx, knobs)
}

func (b *Bed) pki(file string) string { return filepath.Join(b.Dir, "pki", file) }

// BaseArchive is the archive that has the pause and busybox images.
func (b *Bed) BaseArchive() string { return b.programs.archives[0] }
