//go:build e2e

package nodeapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"

	"nodeagent.dev/nodeagent/test/bed"
)

// TestForwardOneConnection: on one connection, as other clients than kubectl use
// it, a port that refuses is reported on its error stream and spoils no other.
func TestForwardOneConnection(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	listener(t, b, "one-connection")
	send := dialForward(t, b, "one-connection")
	for i, port := range []int{echoPort, closedPort, echoPort, closedPort, echoPort} {
		got, failure := send(i, port)
		switch port {
		case echoPort:
			if got != "text" || failure != "" {
				t.Errorf("request %d: %q came back, and the error %q; want text and none", i, got, failure)
			}
		default:
			matches(t, fmt.Sprintf("request %d: error", i), failure, fmt.Sprintf(
				`^error forwarding port %d to pod [0-9a-f]{64}, uid : failed to execute portforward .*connection refused`, port))
			if got != "" {
				t.Errorf("request %d: nobody listens, but %q came back", i, got)
			}
		}
	}
}

// TestStreamsOfThePort: the port itself takes both protocols, whichever of them
// the API server chooses for a node.
func TestStreamsOfThePort(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	listener(t, b, "port")
	pki := func(file string) string { return filepath.Join(b.Dir, "pki", file) }
	config := &rest.Config{Host: b.AgentURL(), TLSClientConfig: rest.TLSClientConfig{
		CAFile: pki("ca.crt"), CertFile: pki("apiserver-kubelet-client.crt"), KeyFile: pki("apiserver-kubelet-client.key"),
	}}
	at := func(path string, query url.Values) *url.URL {
		u, err := url.Parse(b.AgentURL())
		must(t, "reading the agent's address", err)
		u.Path, u.RawQuery = path, query.Encode()
		return u
	}
	exec := at("/exec/default/port/a", url.Values{
		"command": {"sh", "-c", "cat; echo err >&2; exit 3"}, "input": {"1"}, "output": {"1"}, "error": {"1"},
	})
	plain, err := remotecommand.NewSPDYExecutor(config, http.MethodPost, exec)
	must(t, "preparing an exec", err)
	websocket, err := remotecommand.NewWebSocketExecutor(config, http.MethodGet, exec.String())
	must(t, "preparing an exec", err)
	for name, executor := range map[string]remotecommand.Executor{"spdy": plain, "websocket": websocket} {
		t.Run("exec/"+name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var out, errs strings.Builder
			err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("text"), Stdout: &out, Stderr: &errs})
			var exit utilexec.ExitError
			if !errors.As(err, &exit) || exit.ExitStatus() != 3 || out.String() != "text" || errs.String() != "err\n" {
				t.Errorf("%v, %q, %q; want exit code 3, text and err", err, out.String(), errs.String())
			}
		})
	}
	t.Run("forward/websocket", func(t *testing.T) {
		dialer, err := portforward.NewSPDYOverWebsocketDialer(at("/portForward/default/port", nil), config)
		must(t, "preparing a connection", err)
		conn, protocol, err := dialer.Dial("portforward.k8s.io")
		must(t, "connecting", err)
		t.Cleanup(func() { _ = conn.Close() })
		if protocol != "portforward.k8s.io" {
			t.Errorf("the protocol is %q", protocol)
		}
		h := http.Header{}
		h.Set(corev1.StreamType, corev1.StreamTypeError)
		h.Set(corev1.PortHeader, strconv.Itoa(helloPort))
		h.Set(corev1.PortForwardRequestIDHeader, "1")
		failures, err := conn.CreateStream(h)
		must(t, "making an error stream", err)
		h.Set(corev1.StreamType, corev1.StreamTypeData)
		data, err := conn.CreateStream(h)
		must(t, "making a data stream", err)
		got, err := io.ReadAll(data)
		must(t, "reading", err)
		failure, err := io.ReadAll(failures)
		must(t, "reading the error stream", err)
		if string(got) != "hello" || len(failure) != 0 {
			t.Errorf("%q came back, and the error %q", got, failure)
		}
	})
}

// dialForward opens a connection for port-forward through the API server. What
// it returns sends text to a port as the request of that number, and returns what
// comes back and the error.
func dialForward(t *testing.T, b *bed.Bed, pod string) func(id, port int) (string, string) {
	t.Helper()
	config, err := b.RESTConfig()
	must(t, "the API server's address", err)
	transport, upgrader, err := spdy.RoundTripperFor(config)
	must(t, "making a transport", err)
	url := b.Client().CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	conn, protocol, err := dialer.Dial("portforward.k8s.io")
	must(t, "connecting", err)
	t.Cleanup(func() { _ = conn.Close() })
	if protocol != "portforward.k8s.io" {
		t.Errorf("the protocol is %q", protocol)
	}
	return func(id, port int) (string, string) {
		t.Helper()
		h := http.Header{}
		h.Set(corev1.StreamType, corev1.StreamTypeError)
		h.Set(corev1.PortHeader, strconv.Itoa(port))
		h.Set(corev1.PortForwardRequestIDHeader, strconv.Itoa(id))
		failures, err := conn.CreateStream(h)
		must(t, "making an error stream", err)
		_ = failures.Close() // nothing is written to it
		h.Set(corev1.StreamType, corev1.StreamTypeData)
		data, err := conn.CreateStream(h)
		must(t, "making a data stream", err)
		// Where nobody listens the stream may be gone already: the error tells.
		_, _ = io.Copy(data, strings.NewReader("text"))
		_ = data.Close()
		got, _ := io.ReadAll(data)
		failure, err := io.ReadAll(failures)
		must(t, "reading the error stream", err)
		conn.RemoveStreams(data, failures)
		return string(got), string(failure)
	}
}
