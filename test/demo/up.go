package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"nodeagent.dev/nodeagent/internal/agent/inspect"
	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/build"
)

// up starts the demo, waits until its pods are ready and says what to do next.
func up(ctx context.Context, s settings) error {
	start := time.Now()
	manifests, err := readManifests(s.manifests)
	if err != nil {
		return err
	}
	b, err := node(ctx, s.name)
	if err != nil {
		return err
	}
	fmt.Printf("\nThe pods of %s:\n", manifests.dir)
	if err := manifests.install(b.ManifestDir); err != nil {
		return err
	}
	socket := inspect.SocketPath(b.RootDir)
	waiting, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	w := watch{socket: socket, wanted: manifests.pods(b.NodeName), out: os.Stdout}
	pods, err := w.run(waiting)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted; the demo goes on, make demo-down stops it: %w", ctx.Err())
		}
		explain(os.Stdout, b, pods, w.missing(pods))
		return fmt.Errorf("%w within %s; the demo goes on, so that you can look: %s why POD --root-dir %s; make demo-down stops it",
			err, s.timeout, filepath.Join(b.BinDir, bed.Nodeagent), b.RootDir)
	}
	fmt.Printf("All pods are ready, %s after the start of the demo.\n\n", time.Since(start).Round(100*time.Millisecond))
	if err := inspect.Table(os.Stdout, pods, time.Now(), true); err != nil {
		return fmt.Errorf("show the pods: %w", err)
	}
	advise(os.Stdout, b, pods, manifests)
	return nil
}

// node returns the demo's node: the one that runs, or a new one.
func node(ctx context.Context, name string) (*bed.Bed, error) {
	b, err := bed.Open(ctx, name)
	if err == nil {
		fmt.Printf("The demo runs already (make demo-down and make demo for a fresh one).\n")
		return b, revive(ctx, b)
	}
	fmt.Println("Starting containerd and nodeagent; what is missing is built first:")
	b, err = bed.New(ctx, bed.Options{Name: name, Agent: bed.Nodeagent, Standalone: true, NodeName: name, Output: os.Stdout})
	if err != nil {
		return nil, fmt.Errorf("start a node for the demo: %w", err)
	}
	if err := b.Detach(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// revive starts what does not run of a demo that does.
func revive(ctx context.Context, b *bed.Bed) error {
	for _, name := range []string{"containerd", "agent"} {
		c := b.Component(name)
		status, err := c.Status(ctx)
		if err != nil {
			return fmt.Errorf("ask what runs of the demo: %w", err)
		}
		if status.Running {
			continue
		}
		fmt.Printf("%s does not run any more (%s), starting it.\n", name, status.Exit)
		if err := c.Start(ctx); err != nil {
			return fmt.Errorf("start %s of the demo again: %w", name, err)
		}
	}
	return nil
}

// manifests are the files that describe the demo's pods.
type manifests struct {
	dir   string
	files map[string][]byte
	names []string
}

// readManifests reads the manifests of a folder, by default deploy/demo.
func readManifests(dir string) (*manifests, error) {
	if dir == "" {
		checkout, err := build.Checkout()
		if err != nil {
			return nil, fmt.Errorf("find deploy/demo: %w", err)
		}
		dir = filepath.Join(checkout, "deploy", "demo")
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("there are no manifests (*.yaml) in %s", dir)
	}
	m := &manifests{dir: dir, files: map[string][]byte{}}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read a manifest of the demo: %w", err)
		}
		var pod corev1.Pod
		if err := yaml.Unmarshal(content, &pod); err != nil {
			return nil, fmt.Errorf("read the pod in %s: %w", path, err)
		}
		if pod.Kind != "Pod" || pod.Name == "" {
			return nil, fmt.Errorf("read the pod in %s: it is a %q named %q", path, pod.Kind, pod.Name)
		}
		m.files[filepath.Base(path)] = content
		m.names = append(m.names, pod.Name)
	}
	return m, nil
}

// pods are the names under which a node knows the pods.
func (m *manifests) pods(nodeName string) []string {
	var list []string
	for _, name := range m.names {
		list = append(list, name+"-"+strings.ToLower(nodeName))
	}
	return list
}

// install puts the manifests into the agent's folder, each at once and whole.
func (m *manifests) install(dir string) error {
	for name, content := range m.files {
		tmp := filepath.Join(dir, "."+name)
		if err := os.WriteFile(tmp, content, 0o600); err != nil {
			return fmt.Errorf("give the agent a manifest: %w", err)
		}
		if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("give the agent a manifest: %w", err)
		}
	}
	return nil
}
