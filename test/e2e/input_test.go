//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/internal/agent/inspect"
	"nodeagent.dev/nodeagent/test/bed"
)

// standalone returns a bed without a control plane.
func standalone(t *testing.T) *bed.Bed {
	t.Helper()
	b := bed.Start(t, bed.Options{Standalone: true})
	nodeagentOnly(t, b) // looks through the agent's own socket
	return b
}

// show waits until the agent's own view of its pods satisfies done.
func show(t *testing.T, b *bed.Bed, what string, limit time.Duration, done func([]inspect.Pod) bool) []inspect.Pod {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var last []inspect.Pod
	for {
		pods, err := inspect.Pods(ctx, inspect.SocketPath(b.RootDir))
		if err == nil {
			if last = pods; done(pods) {
				return pods
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not %s after %s: %+v (%v)", what, limit, last, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func manifest(t *testing.T, b *bed.Bed, file, content string) {
	t.Helper()
	must(t, "writing a manifest", os.WriteFile(filepath.Join(b.ManifestDir, file), []byte(content), 0o600))
}

func podYAML(name, command string) string {
	p := newPod(name, command)
	p.APIVersion, p.Kind = "v1", "Pod"
	data, _ := json.Marshal(p) // JSON is YAML
	return string(data)
}

// TestManifests: static pods come, change and go with their files; a broken
// manifest is one clear message and harms nobody else.
func TestManifests(t *testing.T) {
	t.Parallel()
	b := standalone(t)
	manifest(t, b, "good.yaml", podYAML("good", obeys))
	one := show(t, b, "one ready pod", 20*time.Second, func(p []inspect.Pod) bool { return len(p) == 1 && p[0].Ready })
	manifest(t, b, "broken.yaml", "kind: Pod\nmetadata:\n  name: [\n")
	manifest(t, b, "nameless.yaml", `{"apiVersion":"v1","kind":"Pod","spec":{"containers":[]}}`)
	manifest(t, b, "second.yaml", podYAML("second", obeys))
	show(t, b, "two ready pods", 20*time.Second, func(p []inspect.Pod) bool { return len(p) == 2 && p[0].Ready && p[1].Ready })
	log := b.Component("agent").Log()
	for _, file := range []string{"broken.yaml", "nameless.yaml"} {
		if n := strings.Count(log, filepath.Join(b.ManifestDir, file)); n == 0 || n > 5 {
			t.Errorf("the log names %s %d times, want a few times:\n%s", file, n, tail(log, 4000))
		}
	}
	manifest(t, b, "good.yaml", podYAML("good", "echo changed; "+obeys))
	show(t, b, "the changed pod", 30*time.Second, func(p []inspect.Pod) bool {
		return len(p) == 2 && p[0].Ready && p[0].UID != one[0].UID
	})
	must(t, "removing a manifest", os.Remove(filepath.Join(b.ManifestDir, "second.yaml")))
	show(t, b, "one pod", 20*time.Second, func(p []inspect.Pod) bool { return len(p) == 1 })
	left, err := os.ReadDir(filepath.Join(b.RootDir, "pods"))
	must(t, "reading the pods' directories", err)
	if len(left) != 1 {
		t.Errorf("%d pod directories left, want 1: %v", len(left), left)
	}
}

// TestRestartAdopts: kill -9 of a standalone agent restarts nothing, and what
// vanished meanwhile is cleaned up.
func TestRestartAdopts(t *testing.T) {
	t.Parallel()
	b := standalone(t)
	manifest(t, b, "stays.yaml", podYAML("stays", obeys))
	manifest(t, b, "goes.yaml", podYAML("goes", obeys))
	before := show(t, b, "two ready pods", 20*time.Second, func(p []inspect.Pod) bool { return len(p) == 2 && p[0].Ready && p[1].Ready })
	agent := b.Component("agent")
	must(t, "killing the agent", agent.Kill(t.Context()))
	must(t, "removing a manifest", os.Remove(filepath.Join(b.ManifestDir, "goes.yaml")))
	must(t, "starting the agent", agent.Start(t.Context()))
	after := show(t, b, "one ready pod", 20*time.Second, func(p []inspect.Pod) bool { return len(p) == 1 && p[0].Ready })
	if b, a := before[1].Containers[0], after[0].Containers[0]; !b.Since.Equal(a.Since) || a.Restarts != 0 {
		t.Errorf("the container was started at %s, now %s, %d restarts", b.Since, a.Since, a.Restarts)
	}
}

// TestBadInput: each of these ends with a message that says what is wrong,
// where, and what to do; none of them does any harm.
func TestBadInput(t *testing.T) {
	t.Parallel()
	b := standalone(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, "writing a file", os.WriteFile(file, nil, 0o600))
	config := filepath.Join(dir, "config.yaml")
	must(t, "writing a configuration", os.WriteFile(config, []byte("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPodz: 3\n"), 0o600))
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"unknown field":      {[]string{"--config", config}, []string{config, "maxPodz", "maxPods"}},
		"unknown flag":       {[]string{"--max-podz=3"}, []string{"--max-podz", "--max-pods"}},
		"missing config":     {[]string{"--config", dir + "/none"}, []string{dir + "/none"}},
		"unwritable root":    {[]string{"--root-dir", file + "/root", "--fail-cgroupv1=false", "--fail-swap-on=false"}, []string{file + "/root", "--root-dir"}},
		"missing kubeconfig": {[]string{"--kubeconfig", dir + "/none", "--root-dir", dir, "--fail-cgroupv1=false"}, []string{dir + "/none", "--kubeconfig"}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			out, err := exec.CommandContext(ctx, filepath.Join(b.BinDir, "nodeagent"), c.args...).CombinedOutput()
			if err == nil || ctx.Err() != nil {
				t.Fatalf("it started (%v):\n%s", err, out)
			}
			for _, want := range c.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("the message does not name %q:\n%s", want, out)
				}
			}
		})
	}
}

// TestMissingSocket: an agent whose runtime is not there says so, stays, and
// begins when the runtime comes.
func TestMissingSocket(t *testing.T) {
	t.Parallel()
	b := standalone(t)
	agent, cri := b.Component("agent"), b.Component("containerd")
	must(t, "stopping the agent", agent.Stop(t.Context()))
	must(t, "stopping containerd", cri.Stop(t.Context()))
	before := len(agent.Log())
	must(t, "starting the agent", agent.Launch(t.Context()))
	manifest(t, b, "waits.yaml", podYAML("waits", obeys))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !strings.Contains(agent.Log()[before:], "cannot reach the container runtime") {
		select {
		case <-ctx.Done():
			t.Fatalf("no message about the runtime:\n%s", agent.Log()[before:])
		case <-time.After(50 * time.Millisecond):
		}
	}
	if log := agent.Log()[before:]; !strings.Contains(log, b.CRISocket) || !strings.Contains(log, "containerRuntimeEndpoint") {
		t.Errorf("the message names neither the socket nor the setting:\n%s", log)
	}
	must(t, "starting containerd", cri.Start(t.Context()))
	show(t, b, "one ready pod", 20*time.Second, func(p []inspect.Pod) bool { return len(p) == 1 && p[0].Ready })
}

// TestWhy: the commands show the pods and explain one that is stuck.
func TestWhy(t *testing.T) {
	t.Parallel()
	b := standalone(t)
	manifest(t, b, "stuck.yaml", strings.Replace(podYAML("stuck", obeys), image, "registry.bed.local/no/such:image", 1))
	show(t, b, "a failed pull", 20*time.Second, func(p []inspect.Pod) bool {
		return len(p) == 1 && len(p[0].Containers) == 1 && strings.Contains(p[0].Containers[0].Reason, "Pull")
	})
	run := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), filepath.Join(b.BinDir, "nodeagent"), append(args, "--root-dir", b.RootDir)...).CombinedOutput()
		if err != nil {
			t.Fatalf("nodeagent %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if out := run("pods"); !strings.Contains(out, "stuck-"+b.NodeName) || !strings.Contains(out, "ErrImagePull") {
		t.Errorf("nodeagent pods:\n%s", out)
	}
	why := run("why", "stuck-"+b.NodeName)
	for _, want := range []string{"no/such", "waits for", "next at", "CreateSandbox sandbox"} {
		if !strings.Contains(why, want) {
			t.Errorf("nodeagent why does not say %q:\n%s", want, why)
		}
	}
	if strings.Contains(why, "trap exit TERM") {
		t.Errorf("nodeagent why shows the container's command")
	}
}
