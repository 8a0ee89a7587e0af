package tcp

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nodeagent.dev/nodeagent/internal/probe/answer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen opens a port and returns its number.
func listen(t *testing.T, host string) int32 {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skipf("no %s here: %v", host, err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return int32(l.Addr().(*net.TCPAddr).Port)
}

func TestProbe(t *testing.T) {
	t.Parallel()
	open := listen(t, "127.0.0.1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	shut := int32(l.Addr().(*net.TCPAddr).Port)
	_ = l.Close()
	c := &corev1.Container{Ports: []corev1.ContainerPort{{Name: "open", ContainerPort: open}}}

	for name, test := range map[string]struct {
		host   string
		port   intstr.IntOrString
		ip     string
		result answer.Result
		output string // a part
		err    string
	}{
		"open":          {port: intstr.FromInt32(open), ip: "127.0.0.1", result: answer.Success},
		"by name":       {port: intstr.FromString("open"), ip: "127.0.0.1", result: answer.Success},
		"another host":  {host: "127.0.0.1", port: intstr.FromInt32(open), ip: "192.0.2.1", result: answer.Success},
		"shut":          {port: intstr.FromInt32(shut), ip: "127.0.0.1", result: answer.Failure, output: "connection refused"},
		"unknown name":  {port: intstr.FromString("none"), ip: "127.0.0.1", err: `port "none" not found`},
		"no address":    {port: intstr.FromInt32(open), err: "the pod has no address yet and the probe names no host"},
		"no such place": {host: "no such place", port: intstr.FromInt32(open), result: answer.Failure, output: "dial tcp"},
	} {
		got, err := Probe(t.Context(), &corev1.TCPSocketAction{Host: test.host, Port: test.port}, c, test.ip, 10*time.Second)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got.Result != test.result || !strings.Contains(got.Output, test.output) || text != test.err {
			t.Errorf("%s: %+v, %q; want %s, %q, %q", name, got, text, test.result, test.output, test.err)
		}
	}
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	port := intstr.FromInt32(listen(t, "::1"))
	for _, a := range []corev1.TCPSocketAction{{Port: port}, {Port: port, Host: "::1"}, {Port: port, Host: "[::1]"}} {
		got, err := Probe(t.Context(), &a, &corev1.Container{}, "::1", 10*time.Second)
		if err != nil || got.Result != answer.Success {
			t.Errorf("host %q: %+v, %v", a.Host, got, err)
		}
	}
}

func TestTimeoutIsAFailure(t *testing.T) {
	t.Parallel()
	a := &corev1.TCPSocketAction{Port: intstr.FromInt32(listen(t, "127.0.0.1"))}
	got, err := Probe(t.Context(), a, &corev1.Container{}, "127.0.0.1", time.Nanosecond)
	if err != nil || got.Result != answer.Failure || !strings.Contains(got.Output, "i/o timeout") {
		t.Errorf("%+v, %v; want a failure with i/o timeout", got, err)
	}
}

func TestEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := &corev1.TCPSocketAction{Port: intstr.FromInt32(listen(t, "127.0.0.1"))}
	if got, _ := Probe(ctx, a, &corev1.Container{}, "127.0.0.1", time.Hour); got.Result == answer.Success {
		t.Errorf("%+v from a probe that was ended", got)
	}
}
