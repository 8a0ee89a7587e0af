//go:build e2e

package monitoring

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/build"
)

// metricsServer is the one that tests share.
var metricsServer struct {
	sync.Mutex
	component *bed.Component
	failed    bool
}

// useMetricsServer starts metrics-server for the first test that asks, and returns
// when the API server knows of it.
func useMetricsServer(t *testing.T, b *bed.Bed) {
	t.Helper()
	m := &metricsServer
	m.Lock()
	defer m.Unlock()
	if m.failed {
		t.Fatal("there is no metrics-server: another test says why")
	}
	if m.component == nil {
		m.failed = true
		m.component = startMetricsServer(t, b)
		m.failed = false
	}
	showLog(t, m.component)
}

func startMetricsServer(t *testing.T, b *bed.Bed) *bed.Component {
	t.Helper()
	builder, err := build.New(os.Stderr)
	must(t, "preparing to build metrics-server", err)
	programs, err := builder.Ensure(t.Context(), build.Monitoring()...)
	must(t, "building metrics-server", err)
	port, err := b.FreePort(t.Context(), "metrics-server")
	must(t, "looking for a port", err)
	kubectl(t, b, "apply", "--filename", fill(t, b, "metrics-server.yaml", map[string]any{"Address": b.NodeIP, "Port": port}))
	config := kubeconfig(t, b, "metrics-server")
	c, err := b.Beside(t.Context(), "metrics-server", programs["metrics-server"],
		"--kubeconfig="+config, "--authentication-kubeconfig="+config, "--authorization-kubeconfig="+config,
		"--bind-address="+b.NodeIP, "--secure-port="+strconv.Itoa(port), "--cert-dir="+filepath.Join(b.Dir, "metrics-server"),
		"--kubelet-preferred-address-types=InternalIP", "--kubelet-use-node-status-port",
		"--kubelet-certificate-authority="+authority(b), "--metric-resolution=10s", "--kubelet-request-timeout=8s", "--v=2")
	must(t, "starting metrics-server", err)
	showLog(t, c)
	until(t, "metrics-server is available", func(ctx context.Context) error {
		if err := running(ctx, c); err != nil {
			t.Fatal(err)
		}
		out, err := b.Kubectl(ctx, "get", "apiservice", "v1beta1.metrics.k8s.io", "--output", `jsonpath={.status.conditions[?(@.type=="Available")]}`)
		if err == nil && !strings.Contains(out, `"True"`) {
			err = errors.New(out)
		}
		return err //nolint:wrapcheck // until says what it is about
	})
	return c
}
