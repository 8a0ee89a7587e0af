//go:build e2e

package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/uuid"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// bare is the runtime without an agent.
type bare struct {
	runtimeapi.RuntimeServiceClient
	logs, cgroups string
}

// floor measures what is taken without an agent: by the runtime for the calls that an
// agent has to make, and by the API server for what it has to be asked and told.
func floor(t *testing.T, s *site) {
	t.Helper()
	conn, err := s.Runtime()
	must(t, "connecting to the runtime", err)
	defer conn.Close()
	b := &bare{runtimeapi.NewRuntimeServiceClient(conn), filepath.Join(s.Dir, "floor"), s.CgroupRoot}
	t.Cleanup(b.unmountAll)
	l := &least{bare: b, client: cheapClient(t, s.Bed), board: s.board}
	l.register(t, s)
	for i := range livesWarm + livesCounted {
		p, up, down := l.life(t, s, fmt.Sprintf("one-%d", i))
		if i >= livesWarm {
			s.add(figCreated, millisOf(up))
			s.add(figDeleted, millisOf(down))
			s.add(floorUp, millisOf(p.up))
			s.add(floorDown, millisOf(p.down))
		}
	}
	b.restarts(t, s)
	for _, d := range answers(t, 2*livesCounted) {
		s.add(floorAnswer, millisOf(d))
	}
	for _, d := range roundTrips(t, s.Bed, s.board, 2*livesCounted) {
		s.add(floorAPI, millisOf(d))
	}
	l.register(t, s) // nobody has reported for it: it is no longer a ready one
	l.crowd(t, s)
}

// restarting is a container of a pod that is made once more when it has ended.
type restarting struct {
	*ending
	of      barePod
	sandbox *runtimeapi.PodSandboxConfig
	config  *runtimeapi.ContainerConfig
}

// restarts measures how soon after its end a container can run again: the runtime is
// still clearing away the old one when it is asked for the new. As on the agents' beds
// several are in a pod, for the runtime reads all of a pod for each event.
func (b *bare) restarts(t *testing.T, s *site) {
	t.Helper()
	dir, told := hostDir(t, s.Bed, "exits"), watchRuntime(t, s.Bed)
	const doing = "restarting a container without an agent"
	var all []restarting
	for len(all) < livesWarm+livesCounted {
		pod, err := b.restartingPod(t, fmt.Sprintf("again-%d", len(all)), dir)
		must(t, doing, err)
		all = append(all, pod...)
	}
	for i, r := range all {
		settle(t, s)
		ended := told.expect(r.name())
		must(t, doing, r.tell())
		_, err := receive(t.Context(), ended)
		must(t, doing, err)
		r.config.Metadata.Attempt = 1
		_, err = b.add(t.Context(), r.of.sandbox, r.sandbox, r.config)
		runs := time.Now()
		must(t, doing, err)
		at, err := r.at()
		must(t, doing, err)
		if i >= livesWarm {
			s.add(floorAgain, millisOf(runs.Sub(at)))
		}
	}
	for i := 0; i < len(all); i += exitContainers {
		must(t, "removing a pod without an agent", b.remove(t.Context(), all[i].of))
		must(t, "removing a pod without an agent", b.unmount(all[i].pod))
	}
}

// restartingPod makes a pod of as many containers as those of the agents' beds have.
func (b *bare) restartingPod(t *testing.T, pod, dir string) (all []restarting, err error) {
	t.Helper()
	if err := b.mount(pod); err != nil {
		return nil, err
	}
	p, sandbox := barePod{}, b.sandbox(pod)
	for i := range exitContainers {
		r := restarting{sandbox: sandbox, ending: &ending{pod: pod, container: string(rune('a' + i)), dir: dir}}
		r.open(t)
		if r.config, err = b.container(pod); err != nil {
			return nil, err
		}
		r.config.Metadata.Name, r.config.LogPath = r.container, r.container+".log"
		r.config.Command = []string{"sh", "-c", r.script(0)}
		r.config.Mounts = append(r.config.Mounts, &runtimeapi.Mount{HostPath: dir, ContainerPath: "/x"})
		if i == 0 {
			p, err = b.run(t.Context(), sandbox, r.config)
		} else {
			_, err = b.add(t.Context(), p.sandbox, sandbox, r.config)
		}
		if err != nil {
			return nil, err
		}
		r.of = p
		all = append(all, r)
	}
	return all, nil
}

// idleAlone measures what the runtime takes of the processors for pods that no
// agent looks after: containerd reads every container's cgroups once a second.
func (s *site) idleAlone(t *testing.T) {
	t.Helper()
	before, err := runtimeTime(t.Context(), s.Bed)
	must(t, "measuring the runtime", err)
	began := time.Now()
	pause(t.Context(), idleFor)
	after, err := runtimeTime(t.Context(), s.Bed)
	must(t, "measuring the runtime", err)
	s.add(figIdleCRI, millicores(after-before, time.Since(began)))
}

// barePod is a pod of one container, and what the runtime took to make it and to end it.
type barePod struct {
	name, sandbox, container string
	up, down                 time.Duration
}

func (b *bare) start(ctx context.Context, name string) (barePod, error) {
	if err := b.mount(name); err != nil {
		return barePod{}, err
	}
	config, err := b.container(name)
	if err != nil {
		return barePod{}, err
	}
	return b.run(ctx, b.sandbox(name), config)
}

// mount makes the file system of a pod's token, which is in memory. Who reads the
// table of mounts, as the runtime does for each container, reads a line of it more.
func (b *bare) mount(pod string) error {
	dir := b.token(pod)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make the volume of %s: %w", pod, err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		return fmt.Errorf("mount the volume of %s: %w", pod, err)
	}
	return nil
}

func (b *bare) unmount(pod string) error {
	if err := unix.Unmount(b.token(pod), 0); err != nil {
		return fmt.Errorf("unmount the volume of %s: %w", pod, err)
	}
	return nil
}

// unmountAll unmounts what a test that failed has left.
func (b *bare) unmountAll() {
	left, _ := filepath.Glob(b.token("*"))
	for _, dir := range left {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
}

func (b *bare) token(pod string) string { return filepath.Join(b.logs, pod, "token") }

// run makes and starts a pod of one container.
func (b *bare) run(ctx context.Context, sandbox *runtimeapi.PodSandboxConfig, config *runtimeapi.ContainerConfig) (p barePod, err error) {
	made, err := b.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		return p, fmt.Errorf("run sandbox %s: %w", sandbox.GetMetadata().GetName(), err)
	}
	p.name, p.sandbox = sandbox.GetMetadata().GetName(), made.GetPodSandboxId()
	p.container, err = b.add(ctx, p.sandbox, sandbox, config)
	return p, err
}

// add makes and starts a container.
func (b *bare) add(ctx context.Context, id string, sandbox *runtimeapi.PodSandboxConfig, config *runtimeapi.ContainerConfig) (string, error) {
	made, err := b.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: id, SandboxConfig: sandbox, Config: config})
	if err != nil {
		return "", fmt.Errorf("create the container of %s: %w", sandbox.GetMetadata().GetName(), err)
	}
	if _, err := b.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: made.GetContainerId()}); err != nil {
		return "", fmt.Errorf("start the container of %s: %w", sandbox.GetMetadata().GetName(), err)
	}
	return made.GetContainerId(), nil
}

// sandbox has what agents ask for, as far as it takes the runtime's time: to load the
// profile of seccomp alone takes a fifth of a start, and what reads all cgroups takes
// longer for longer paths.
func (b *bare) sandbox(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: namespace, Uid: name}, Hostname: name,
		LogDirectory: filepath.Join(b.logs, name), DnsConfig: &runtimeapi.DNSConfig{Servers: []string{"127.0.0.1"}},
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent: b.cgroups + "/kubepods/besteffort/pod" + string(uuid.NewUUID()),
			Resources:    &runtimeapi.LinuxContainerResources{CpuShares: 2},
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
				NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
				Seccomp:          &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
			},
		},
	}
}

// container has the mounts and the hidden paths of a container that an agent makes.
func (b *bare) container(name string) (*runtimeapi.ContainerConfig, error) {
	dir := filepath.Join(b.logs, name, "volumes")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the volumes of %s: %w", name, err)
	}
	c := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "a"}, Image: &runtimeapi.ImageSpec{Image: bedtest.Image},
		Command: []string{"sh", "-c", bedtest.Obeys}, LogPath: "a.log",
		Mounts: []*runtimeapi.Mount{{HostPath: b.token(name), ContainerPath: "/var/run/secrets/kubernetes.io/serviceaccount", Readonly: true}},
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources: &runtimeapi.LinuxContainerResources{CpuShares: 2, OomScoreAdj: 1000},
			SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
				MaskedPaths: []string{
					"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
					"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
				},
				ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			},
		},
	}
	for _, to := range []string{"/etc/hosts", "/dev/termination-log"} {
		file := filepath.Join(dir, filepath.Base(to))
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			return nil, fmt.Errorf("make the files of %s: %w", name, err)
		}
		c.Mounts = append(c.Mounts, &runtimeapi.Mount{HostPath: file, ContainerPath: to})
	}
	return c, nil
}

// end does what has to be done before a pod's object may go, remove what may follow.
func (b *bare) end(ctx context.Context, p barePod) error {
	if _, err := b.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: p.container, Timeout: 30}); err != nil {
		return fmt.Errorf("stop a container: %w", err)
	}
	if _, err := b.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: p.sandbox}); err != nil {
		return fmt.Errorf("stop a sandbox: %w", err)
	}
	return b.unmount(p.name)
}

func (b *bare) remove(ctx context.Context, p barePod) error {
	if _, err := b.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: p.sandbox}); err != nil {
		return fmt.Errorf("remove a sandbox: %w", err)
	}
	return nil
}
