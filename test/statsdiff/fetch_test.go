//go:build e2e

package statsdiff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/diff"
)

// endpoints are what is asked, by the name that facts have.
var endpoints = map[string]string{
	"metrics": "metrics", "cadvisor": "metrics/cadvisor", "resource": "metrics/resource", "probes": "metrics/probes", "slis": "metrics/slis",
	"summary": "stats/summary", "summary-short": "stats/summary?only_cpu_and_memory=true",
}

// mostBytes bounds what is read of an answer.
const mostBytes = 64 << 20

// way is how something is asked.
type way struct {
	name, method string
	header       http.Header
}

var (
	asPlain = way{"plain", http.MethodGet, http.Header{"Accept-Encoding": {"identity"}}}
	ways    = []way{
		asPlain,
		{"post", http.MethodPost, http.Header{"Accept-Encoding": {"identity"}}},
		{"prometheus 2", http.MethodGet, http.Header{"Accept-Encoding": {"gzip"}, "Accept": {
			"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}}},
		{"prometheus 3", http.MethodGet, http.Header{"Accept-Encoding": {"gzip"}, "Accept": {
			"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5," +
				"text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"}}},
		{"protobuf", http.MethodGet, http.Header{"Accept-Encoding": {"identity"}, "Accept": {
			"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.8,text/plain;version=0.0.4;q=0.3"}}},
		{"json", http.MethodGet, http.Header{"Accept-Encoding": {"identity"}, "Accept": {"application/json"}}},
	}
)

// answer is what an endpoint says.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// fetcher asks an agent through the API server's node proxy.
type fetcher struct {
	client *http.Client
	base   string
}

func newFetcher(t *testing.T, b *bed.Bed) *fetcher {
	t.Helper()
	config, err := b.RESTConfig()
	must(t, "connecting to the API server", err)
	client, err := rest.HTTPClientFor(config)
	must(t, "connecting to the API server", err)
	return &fetcher{client, strings.TrimSuffix(config.Host, "/") + "/api/v1/nodes/" + b.NodeName + "/proxy/"}
}

func (f *fetcher) get(ctx context.Context, endpoint string, w way) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, w.method, f.base+endpoints[endpoint], nil)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	maps.Copy(req.Header, w.header)
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", endpoint, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostBytes+1))
	if err != nil || len(body) > mostBytes {
		return nil, fmt.Errorf("read %d bytes of %s: %w", len(body), endpoint, err)
	}
	return &answer{resp.StatusCode, resp.Header, body}, nil
}

// answers adds how each endpoint answers when it is asked in several ways.
func (f *fetcher) answers(t *testing.T, facts map[string]diff.Facts) {
	t.Helper()
	for name := range endpoints {
		for _, w := range ways {
			a, err := f.get(t.Context(), name, w)
			must(t, "asking", err)
			facts[name]["("+w.name+") status"] = strconv.Itoa(a.status)
			for _, key := range []string{"Content-Type", "Content-Encoding", "Allow"} {
				if value := a.header.Get(key); value != "" {
					facts[name]["("+w.name+") "+strings.ToLower(key)] = value
				}
			}
		}
	}
}

// forward fetches a page from a port of a pod.
func forward(ctx context.Context, b *bed.Bed, pod, port string) error {
	config, err := b.RESTConfig()
	if err != nil {
		return err
	}
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	url := b.Client().CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	stop, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	forwarder, err := portforward.New(dialer, []string{"0:" + port}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return fmt.Errorf("forward a port: %w", err)
	}
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		return fmt.Errorf("forward a port: %w", err)
	}
	got := page(ctx, forwarder)
	close(stop)
	return errors.Join(got, <-ended)
}

func page(ctx context.Context, forwarder *portforward.PortForwarder) error {
	ports, err := forwarder.GetPorts()
	if err != nil {
		return fmt.Errorf("forward a port: %w", err)
	}
	url := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(int(ports[0].Local)))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	req.Close = true
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return fmt.Errorf("fetch a page through a forwarded port: %w", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("fetch a page through a forwarded port: status %d: %w", resp.StatusCode, err)
	}
	return nil
}
