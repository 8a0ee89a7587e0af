//go:build e2e

package monitoring

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/build"
)

// every is how often Prometheus asks.
const every = 5 * time.Second

// endpoints are the paths at which a node has figures.
func endpoints() []string {
	return []string{"/metrics", "/metrics/cadvisor", "/metrics/resource", "/metrics/probes", "/metrics/slis"}
}

// ways are those of asking: see testdata/prometheus.conf.
func ways() []string { return []string{"token", "certificate", "proxied"} }

// prometheus is a server that asks the bed's node for its figures.
type prometheus struct {
	promv1.API

	component *bed.Component
}

// startPrometheus starts a server; it ends with the bed.
func startPrometheus(t *testing.T, b *bed.Bed) *prometheus {
	t.Helper()
	builder, err := build.New(os.Stderr)
	must(t, "looking for the cache", err)
	program, err := builder.FromDebian(t.Context(), "prometheus", "usr/bin/prometheus")
	must(t, "getting Prometheus", err)
	port, err := b.FreePort(t.Context(), "prometheus")
	must(t, "looking for a port", err)
	config, err := b.RESTConfig()
	must(t, "looking for the API server", err)
	kubectl(t, b, "apply", "--filename", fill(t, b, "prometheus.yaml", nil))
	file, _ := token(t, b, "prometheus")
	address := fmt.Sprintf("127.0.0.1:%d", port)
	settings := fill(t, b, "prometheus.conf", map[string]any{
		"Every": every, "Ways": ways(), "Paths": endpoints(), "Own": address, "Token": file,
		"Authority": authority(b), "Certificate": filepath.Join(b.Dir, "pki", "admin.crt"), "Key": filepath.Join(b.Dir, "pki", "admin.key"),
		"Server": strings.TrimPrefix(config.Host, "https://"), "Node": b.NodeName, "Address": nodeAddress(t, b),
	})
	c, err := b.Beside(t.Context(), "prometheus", program, "--config.file="+settings, "--web.listen-address="+address,
		"--storage.tsdb.path="+filepath.Join(b.Dir, "prometheus"), "--log.level=debug")
	must(t, "starting Prometheus", err)
	showLog(t, c)
	client, err := api.NewClient(api.Config{Address: "http://" + address})
	must(t, "making a client of Prometheus", err)
	p := &prometheus{API: promv1.NewAPI(client), component: c}
	until(t, "Prometheus answers", func(ctx context.Context) error {
		if err := running(ctx, c); err != nil {
			t.Fatal(err)
		}
		_, err := p.Buildinfo(ctx)
		return err //nolint:wrapcheck // until says what it is about
	})
	return p
}

// query asks for the newest values of an expression.
func (p *prometheus) query(ctx context.Context, expression string) (model.Vector, error) {
	value, warnings, _, err := p.Query(ctx, expression, time.Now())
	if err != nil || len(warnings) > 0 {
		return nil, fmt.Errorf("query %s: %w, warnings: %v", expression, err, warnings)
	}
	vector, ok := value.(model.Vector)
	if !ok {
		return nil, fmt.Errorf("query %s: got a %s", expression, value.Type())
	}
	return vector, nil
}

// all is an error unless an expression has values, and all are between two
// figures.
func (p *prometheus) all(ctx context.Context, expression string, least, most float64) error {
	values, err := p.query(ctx, expression)
	if err != nil {
		return err
	}
	if len(values) == 0 {
		return fmt.Errorf("nothing found by %s", expression)
	}
	var wrong []error
	for _, v := range values {
		wrong = append(wrong, within(expression+" of "+v.Metric.String(), float64(v.Value), least, most))
	}
	return errors.Join(wrong...)
}

// targets is an error unless all targets are up.
func (p *prometheus) targets(ctx context.Context) error {
	all, err := p.Targets(ctx)
	if err != nil {
		return fmt.Errorf("list the targets: %w", err)
	}
	if want := len(ways())*len(endpoints()) + 1; len(all.Active) != want {
		return fmt.Errorf("%d targets, want %d", len(all.Active), want)
	}
	var wrong []error
	for _, target := range all.Active {
		if target.Health != promv1.HealthGood || target.LastError != "" {
			wrong = append(wrong, fmt.Errorf("target %s is %s: %s", target.ScrapeURL, target.Health, target.LastError))
		}
	}
	return errors.Join(wrong...)
}

// nodeAddress is where the Node object says that its agent listens.
func nodeAddress(t *testing.T, b *bed.Bed) string {
	t.Helper()
	node, err := b.Client().CoreV1().Nodes().Get(t.Context(), b.NodeName, metav1.GetOptions{})
	must(t, "looking at the node", err)
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return net.JoinHostPort(a.Address, strconv.Itoa(int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)))
		}
	}
	t.Fatalf("node %s has no address: %+v", b.NodeName, node.Status.Addresses)
	return ""
}
