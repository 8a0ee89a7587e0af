//go:build e2e

package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

var (
	compare   = flag.Bool("compare", false, "measure the upstream kubelet, then nodeagent, and judge nodeagent")
	printOnly = flag.Bool("print", false, "judge nothing")
)

const (
	namespace = bedtest.Namespace
	// patience bounds what takes as long as the machine is slow.
	patience = 90 * time.Second
	// serverSlow is how long a probe may take before it fails: longer than any
	// pause of a busy machine.
	serverSlow = 10
)

var must = bedtest.Must

// agents are those to measure: both to compare, else that of beds.
func agents() []string {
	if *compare {
		return []string{bed.Kubelet, bed.Nodeagent}
	}
	if name := os.Getenv(bed.AgentEnv); name != "" {
		return []string{name}
	}
	return []string{bed.Nodeagent}
}

// judged says whether what was measured of an agent decides about the test.
func judged(agent string) bool { return *compare && !*printOnly && agent == bed.Nodeagent }

// held says why the agent would not run a pod; empty when it would.
func held(b *bed.Bed, p *corev1.Pod) string {
	if b.Agent() != bed.Nodeagent {
		return ""
	}
	return pod.Unsupported(p)
}

// serve answers on loopback in this process until the test ends, and returns the
// port.
func serve(t *testing.T, handler http.Handler) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, "listening for probes", err)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: patience}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serving probes: %v", err)
		}
	})
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("listening for probes: the address is %s", l.Addr())
	}
	return address.Port
}

// create makes pods; they end with the bed.
func create(ctx context.Context, b *bed.Bed, pods ...*corev1.Pod) error {
	for _, p := range pods {
		if _, err := b.Client().CoreV1().Pods(namespace).Create(ctx, p, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create pod %s: %w", p.Name, err)
		}
	}
	return nil
}

// mountHost gives every container of a pod a folder of this machine.
func mountHost(p *corev1.Pod, dir, at string) {
	p.Spec.Volumes = []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}}}}
	for i := range p.Spec.Containers {
		p.Spec.Containers[i].VolumeMounts = []corev1.VolumeMount{{Name: "host", MountPath: at}}
	}
}

// hostDir makes a folder of this machine for containers. It goes with the bed:
// they write to it until then.
func hostDir(t *testing.T, b *bed.Bed, name string) string {
	t.Helper()
	dir := filepath.Join(b.Dir, name)
	must(t, "making a folder for containers", os.Mkdir(dir, 0o755))
	return dir
}
