package bed

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// readiness is the check that tells whether a component answers.
func (b *Bed) readiness(name string) func(context.Context) error {
	plain := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	switch name {
	case "etcd":
		return get(plain, "http://"+b.local("etcd")+"/health")
	case "kube-apiserver":
		return b.getSecure("https://" + b.local("apiserver") + "/readyz")
	case "kube-controller-manager":
		return b.getSecure("https://" + b.local("controller-manager") + "/healthz")
	case "kube-scheduler":
		return b.getSecure("https://" + b.local("scheduler") + "/healthz")
	case "containerd":
		return b.runtimeReady
	default:
		return get(plain, b.HealthzURL)
	}
}

func get(client *http.Client, url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return fmt.Errorf("make a request for %s: %w", url, err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return fmt.Errorf("check health: %w", err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s: %s", url, resp.Status, body)
		}
		return nil
	}
}

// getSecure asks with the administrator's certificate.
func (b *Bed) getSecure(url string) func(context.Context) error {
	client, err := b.secureClient()
	if err != nil {
		return func(context.Context) error { return err }
	}
	return get(client, url)
}

func (b *Bed) secureClient() (*http.Client, error) {
	pair, err := tls.LoadX509KeyPair(b.pki("admin.crt"), b.pki("admin.key"))
	if err != nil {
		return nil, fmt.Errorf("load the administrator's certificate: %w", err)
	}
	ca, err := os.ReadFile(b.pki("ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("load the bed's authority: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS12}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}, nil
}

// AgentURL is the base of the agent's API.
func (b *Bed) AgentURL() string { return "https://" + b.NodeIP + ":" + b.port("kubelet") }

// AgentClient talks to the agent's API as the administrator.
func (b *Bed) AgentClient() (*http.Client, error) { return b.secureClient() }

// Runtime connects to the bed's containerd; close the connection after use.
func (b *Bed) Runtime() (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("unix://"+b.CRISocket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return nil, fmt.Errorf("connect to containerd: %w", err)
	}
	return conn, nil
}

func (b *Bed) runtimeReady(ctx context.Context) error {
	if _, err := os.Stat(b.CRISocket); err != nil {
		return fmt.Errorf("containerd does not listen yet: %w", err)
	}
	conn, err := b.Runtime()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	resp, err := runtimeapi.NewRuntimeServiceClient(conn).Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return fmt.Errorf("ask containerd for its status: %w", err)
	}
	var errs []error
	for _, c := range resp.GetStatus().GetConditions() {
		if !c.GetStatus() && (c.GetType() == runtimeapi.RuntimeReady || c.GetType() == runtimeapi.NetworkReady) {
			errs = append(errs, fmt.Errorf("containerd: %s is false: %s", c.GetType(), c.GetMessage()))
		}
	}
	return errors.Join(errs...)
}
