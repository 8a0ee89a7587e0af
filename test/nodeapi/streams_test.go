//go:build e2e

package nodeapi

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/transport/spdy"

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
