package agent

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/etchosts"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/termination"
)

// givens gives containers what several parts of the agent have for them.
type givens struct {
	given
	clusterDomain string
	hosts         *etchosts.Files
	messages      *termination.Files
	standalone    bool
	node          func() pod.Node
	spec          func() containerspec.Node
}

const (
	// fetchTimeout is how long a container waits for the API server to show what
	// its variables come from, before that is told and tried again.
	fetchTimeout = 10 * time.Second
	// envFileSize bounds a file that variables are read from, in bytes.
	envFileSize = 1 << 20
)

// Give implements lifecycle.Givens.
func (g givens) Give(ctx context.Context, req *pod.ContainerRequest, podIPs []string) (err error) {
	p, c := req.Sandbox.Pod, req.Container
	hostIPs := g.node().HostIPs
	if p.Spec.HostNetwork {
		podIPs = hostIPs
	}
	req.Environment = pod.Environment{PodIPs: podIPs, HostIPs: hostIPs, Files: func(volume, path string) ([]byte, error) {
		return readFile(req.Volumes[volume].HostPath, path)
	}}
	if err := g.fetch(ctx, req); err != nil {
		return &pod.Failure{Reason: pod.ReasonContainerConfig, Err: err, Message: err.Error()}
	}
	if err := g.volumes.Check(ctx, p, c); err != nil {
		return err
	}
	wanted, err := containerspec.SubPaths(*req, g.spec())
	if err == nil {
		req.SubPaths, err = g.volumes.SubPaths(ctx, p.UID, c.Name, wanted)
	}
	if err != nil {
		return err
	}
	if containerspec.WantsHostsFile(c) {
		name, domain, err := containerspec.HostnameAndDomain(p, g.clusterDomain)
		if err != nil {
			return err
		}
		if req.HostsFile, err = g.hosts.Ensure(p, podIPs, name, domain); err != nil {
			return err
		}
	}
	if c.TerminationMessagePath != "" {
		if req.TerminationLog, err = g.messages.Create(p.UID, c.Name, req.Attempt); err != nil {
			return fmt.Errorf("making the termination message file of container %s: %w", c.Name, err)
		}
	}
	return nil
}

// Forget implements lifecycle.Givens.
func (g givens) Forget(uid types.UID) { g.forget(uid) }

// fetch brings what the container's variables come from of the API server. What
// does not exist is left out: whether that matters is for the spec to say. A node
// without an API server has none of it.
func (g givens) fetch(ctx context.Context, req *pod.ContainerRequest) error {
	if g.standalone {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	p, env := req.Sandbox.Pod, &req.Environment
	refer(g.objects, p)
	configMaps, secrets := containerspec.References(p, req.Container)
	var err error
	if env.ConfigMaps, err = fetchAll(ctx, p.Namespace, configMaps, g.objects.ConfigMap); err != nil {
		return err
	}
	if env.Secrets, err = fetchAll(ctx, p.Namespace, secrets, g.objects.Secret); err != nil {
		return err
	}
	if p.Annotations[corev1.MirrorPodAnnotationKey] != "" || p.Annotations[configSource] == "file" {
		// A control plane has to start before it can be asked: what is known will do.
		now, cancel := context.WithCancel(ctx)
		cancel()
		env.Services, _ = g.objects.Services(now)
		return nil
	}
	if env.Services, err = g.objects.Services(ctx); err != nil {
		return fmt.Errorf("services have not yet been read at least once, cannot construct envvars: %w", err)
	}
	return nil
}

// configSource is the kubelet's annotation that says where a pod comes from.
const configSource = "kubernetes.io/config.source"

func fetchAll[T any](ctx context.Context, namespace string, names []string, get func(ctx context.Context, namespace, name string) (T, error)) (map[string]T, error) {
	found := make(map[string]T, len(names))
	for _, name := range names {
		object, err := get(ctx, namespace, name)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, err
		default:
			found[name] = object
		}
	}
	return found, nil
}

// readFile reads a file of a volume. Nothing outside the volume is opened.
func readFile(dir, path string) ([]byte, error) {
	f, err := os.OpenInRoot(dir, path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return io.ReadAll(io.LimitReader(f, envFileSize))
}
