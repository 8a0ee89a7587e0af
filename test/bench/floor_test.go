//go:build e2e

package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// bare is the runtime without an agent.
type bare struct {
	runtimeapi.RuntimeServiceClient
	logs, cgroups string
}

// floor measures what the runtime takes for the calls that an agent has to make for
// a plain pod, and what it and the API server take for many pods at once.
func floor(t *testing.T, s *site) {
	t.Helper()
	conn, err := s.Runtime()
	must(t, "connecting to the runtime", err)
	defer conn.Close()
	b := &bare{runtimeapi.NewRuntimeServiceClient(conn), filepath.Join(s.Dir, "floor"), s.CgroupRoot}
	for i := range livesWarm + livesCounted {
		began := time.Now()
		p, err := b.start(t.Context(), fmt.Sprintf("one-%d", i))
		must(t, "starting a pod without an agent", err)
		up := time.Since(began)
		settle(t, s)
		began = time.Now()
		must(t, "ending a pod without an agent", b.end(t.Context(), p))
		down := time.Since(began)
		must(t, "removing a pod without an agent", b.remove(t.Context(), p))
		if i >= livesWarm {
			s.add(figCreated, millisOf(up))
			s.add(floorMade, millisOf(p.took))
			s.add(figDeleted, millisOf(down))
		}
	}
	b.crowd(t, s)
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

// barePod is a pod of one container, and how long that took to be made and started.
type barePod struct {
	sandbox, container string
	took               time.Duration
}

func (b *bare) start(ctx context.Context, name string) (barePod, error) {
	var p barePod
	sandbox := b.sandbox(name)
	config, err := b.container(name)
	if err != nil {
		return p, err
	}
	made, err := b.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		return p, fmt.Errorf("run sandbox %s: %w", name, err)
	}
	p.sandbox = made.GetPodSandboxId()
	began := time.Now()
	container, err := b.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: p.sandbox, SandboxConfig: sandbox, Config: config})
	if err != nil {
		return p, fmt.Errorf("create the container of %s: %w", name, err)
	}
	p.container = container.GetContainerId()
	if _, err := b.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: p.container}); err != nil {
		return p, fmt.Errorf("start the container of %s: %w", name, err)
	}
	p.took = time.Since(began)
	return p, nil
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
		Mounts: []*runtimeapi.Mount{{HostPath: dir, ContainerPath: "/var/run/secrets/kubernetes.io/serviceaccount", Readonly: true}},
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
	return nil
}

func (b *bare) remove(ctx context.Context, p barePod) error {
	if _, err := b.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: p.sandbox}); err != nil {
		return fmt.Errorf("remove a sandbox: %w", err)
	}
	return nil
}
