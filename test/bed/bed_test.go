//go:build e2e

package bed_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/images"
	"nodeagent.dev/nodeagent/test/bed/keeper"
)

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls what has no event to wait for.
func eventually(t *testing.T, d time.Duration, what string, check func() error) {
	t.Helper()
	ctx := within(t, d)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: still after %s: %v", what, d, err)
		case <-tick.C:
		}
	}
}

func pod(name, image string, command ...string) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64(1)),
			Containers:                    []corev1.Container{{Name: "c", Image: image, Command: command, ImagePullPolicy: corev1.PullIfNotPresent}},
		},
	}
}

func waitRunning(t *testing.T, b *bed.Bed, name string) {
	t.Helper()
	eventually(t, 30*time.Second, "pod "+name+" is not ready", func() error {
		p, err := b.Client().CoreV1().Pods(metav1.NamespaceDefault).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("status is %+v", p.Status)
	})
}

func create(t *testing.T, b *bed.Bed, p *corev1.Pod) {
	t.Helper()
	if _, err := b.Client().CoreV1().Pods(p.Namespace).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func podLog(b *bed.Bed, name string) error {
	files, _ := filepath.Glob(filepath.Join(b.PodLogsDir, "*_"+name+"*", "c", "*.log"))
	for _, f := range files {
		if content, err := os.ReadFile(f); err == nil && strings.Contains(string(content), "hello from "+name) {
			return nil
		}
	}
	return fmt.Errorf("no log with the greeting in %v", files)
}

func hello(name string) []string {
	return []string{"sh", "-c", "echo hello from " + name + "; exec sleep 3600"}
}

func nothingLeft(t *testing.T, b *bed.Bed) {
	t.Helper()
	left, err := b.Leftovers(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Error(err)
	}
	if len(left) > 0 {
		t.Errorf("left of bed %s:\n%s", b.Name, strings.Join(left, "\n"))
	}
}

func TestKubelet(t *testing.T) {
	var b *bed.Bed
	t.Cleanup(func() { nothingLeft(t, b) }) // after the bed was closed
	b = bed.Start(t, bed.Options{Agent: bed.Kubelet, AuditLog: true})
	create(t, b, pod("one", images.BusyboxName, hello("one")...))
	waitRunning(t, b, "one")
	eventually(t, 10*time.Second, "pod one has no log", func() error { return podLog(b, "one") })
	if out, err := b.Crictl(t.Context(), "ps", "-q"); err != nil || strings.TrimSpace(out) == "" {
		t.Errorf("crictl ps: %q, %v", out, err)
	}
	if out, err := b.Kubectl(t.Context(), "exec", "one", "--", "id", "-u"); err != nil || strings.TrimSpace(out) != "0" {
		t.Errorf("kubectl exec: %q, %v", out, err)
	}
	t.Run("disturb", func(t *testing.T) { disturb(t, b) })
	t.Run("registry", func(t *testing.T) { pullFromRegistry(t, b) })
	t.Run("agent API", func(t *testing.T) { askAgent(t, b) })
	if info, err := os.Stat(b.AuditLogPath()); err != nil || info.Size() == 0 {
		t.Errorf("no audit log: %v", err)
	}
}

// disturb kills, pauses and restarts components; the pod lives on.
func disturb(t *testing.T, b *bed.Bed) {
	ctx := within(t, 90*time.Second)
	for _, name := range []string{"agent", "containerd", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		c := b.Component(name)
		before, err := c.PID(ctx)
		if err != nil || before == 0 {
			t.Fatalf("%s: pid %d, %v", name, before, err)
		}
		if err := c.Kill(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", before)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was killed but is still there: %v", name, err)
		}
		if err := c.Kill(ctx); !errors.Is(err, keeper.ErrNotRunning) {
			t.Errorf("second kill of %s: %v", name, err)
		}
		if err := c.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	c := b.Component("kube-scheduler")
	if err := errors.Join(c.Pause(ctx), c.Resume(ctx), c.WaitReady(ctx), c.Restart(ctx)); err != nil {
		t.Error(err)
	}
	if err := b.WaitNodeReady(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.SwitchAgent(ctx, bed.NoAgent); err != nil {
		t.Error(err)
	}
	if err := b.SwitchAgent(ctx, bed.Kubelet); err != nil {
		t.Error(err)
	}
	create(t, b, pod("two", images.BusyboxName, hello("two")...))
	waitRunning(t, b, "two")
	p, err := b.Client().CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, "one", metav1.GetOptions{})
	if err != nil || p.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("pod one was restarted: %+v, %v", p.Status, err)
	}
}

func pullFromRegistry(t *testing.T, b *bed.Bed) {
	ctx := within(t, time.Minute)
	img, err := b.SmallImage(map[string]string{"bin/greet": "#!/bin/sh\necho hello from pulled; exec sleep 3600\n"}, v1.Config{Cmd: []string{"/bin/greet"}})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := b.PushImage(ctx, "x/greet:1", img)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SetRegistry(ctx, keeper.RegistryKnobs{FailStatus: 503}); err != nil {
		t.Fatal(err)
	}
	if out, err := b.Crictl(ctx, "pull", ref); err == nil {
		t.Errorf("pull from a failing registry: %s", out)
	}
	if err := b.SetRegistry(ctx, keeper.RegistryKnobs{Username: "u", Password: "p"}); err != nil {
		t.Fatal(err)
	}
	if out, err := b.Crictl(ctx, "pull", ref); err == nil {
		t.Errorf("pull without the password: %s", out)
	}
	if _, err := b.Crictl(ctx, "pull", "--creds", "u:p", ref); err != nil {
		t.Error(err)
	}
	if err := b.SetRegistry(ctx, keeper.RegistryKnobs{}); err != nil {
		t.Fatal(err)
	}
	create(t, b, pod("pulled", bed.RegistryHost+"/x/greet:1"))
	waitRunning(t, b, "pulled")
	eventually(t, 10*time.Second, "pod pulled has no log", func() error { return podLog(b, "pulled") })
}

func askAgent(t *testing.T, b *bed.Bed) {
	client, err := b.AgentClient()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get(b.AgentURL() + "/pods")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), `"one"`) {
		t.Errorf("the agent answers %s, %v: %.300s", resp.Status, err, body)
	}
}

// startStatic starts a standalone bed with one pod from a manifest.
func startStatic(t *testing.T, b *bed.Bed, name string) {
	t.Helper()
	manifest := fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q},"spec":{"containers":[{"name":"c","image":%q,
		"imagePullPolicy":"Never","command":["sh","-c","echo hello from %s; exec sleep 3600"],"ports":[{"containerPort":80,"hostPort":%d}]}]}}`,
		name, images.BusyboxName, name, 18000+len(name))
	if err := os.WriteFile(filepath.Join(b.ManifestDir, name+".json"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "static pod "+name+" has no log", func() error { return podLog(b, name) })
}

func TestTwoBeds(t *testing.T) {
	first := bed.Start(t, bed.Options{Agent: bed.Kubelet, Standalone: true})
	ctx := within(t, 3*time.Minute)
	second, err := bed.New(ctx, bed.Options{Agent: bed.Kubelet, Standalone: true})
	if err != nil {
		t.Fatal(err)
	}
	startStatic(t, first, "a")
	startStatic(t, second, "bb")
	if left, err := second.Leftovers(ctx); err != nil || len(left) < 10 {
		t.Errorf("a running bed shows %q, %v", left, err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, second)
	if out, err := first.Crictl(ctx, "ps", "-q"); err != nil || strings.TrimSpace(out) == "" {
		t.Errorf("the first bed suffered from the end of the second: %q, %v", out, err)
	}
	if _, err := bed.New(ctx, bed.Options{Name: first.Name, Agent: bed.NoAgent, Standalone: true}); err == nil || !strings.Contains(err.Error(), "is up already") {
		t.Errorf("a second bed of one name: %v", err)
	}
}

const helperEnv = "NODEAGENT_BED_TEST_HELPER"

// TestHelper is the process that other tests kill.
func TestHelper(t *testing.T) {
	name := os.Getenv(helperEnv)
	if name == "" {
		t.Skip("a helper of other tests")
	}
	b := bed.Start(t, bed.Options{Name: name, Agent: bed.Kubelet, Standalone: true})
	startStatic(t, b, "killed")
	fmt.Println("UP")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// helper starts a bed in another process and returns when it is up.
func helper(t *testing.T, name string) (*exec.Cmd, *bed.Bed) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestHelper$", "-test.v")
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close() })
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := ""
	buffer := make([]byte, 4096)
	for !strings.Contains(seen, "UP\n") {
		n, err := out.Read(buffer)
		seen += string(buffer[:n])
		if err != nil {
			t.Fatalf("the helper ended: %s", seen)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	b, err := bed.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, b
}

func TestNothingLeftAfterTestIsKilled(t *testing.T) {
	cmd, b := helper(t, fmt.Sprintf("kt%d", os.Getpid()))
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, 30*time.Second, "the keeper does not remove the bed", func() error {
		if _, err := os.Stat(b.Dir); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is still there (%w)", b.Dir, err)
		}
		return nil
	})
	nothingLeft(t, b)
}

func TestDownAfterKeeperIsKilled(t *testing.T) {
	cmd, b := helper(t, fmt.Sprintf("kk%d", os.Getpid()))
	pid, err := b.KeeperPID()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if left, err := b.Leftovers(t.Context()); err != nil || len(left) < 10 {
		t.Errorf("without a keeper there should be leftovers: %q, %v", left, err)
	}
	if err := bed.Down(within(t, time.Minute), b.Name); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, b)
}
