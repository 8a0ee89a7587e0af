package endpoint

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ host, ip, want string }{
		{"", "10.1.2.3", "10.1.2.3:80"},
		{"", "fd00::1", "[fd00::1]:80"},
		{"example.com", "10.1.2.3", "example.com:80"},
		{"::1", "10.1.2.3", "[::1]:80"},
		{"[::1]", "10.1.2.3", "[::1]:80"},
		{"fe80::1%eth0", "", "[fe80::1%eth0]:80"},
	} {
		got, err := Address(c.host, c.ip, 80)
		if err != nil || got != c.want {
			t.Errorf("host %q, ip %q: %q, %v; want %q", c.host, c.ip, got, err, c.want)
		}
	}
	if got, err := Address("", "", 80); err == nil {
		t.Errorf("neither host nor address: %q, want an error: the dialer would take the node", got)
	}
}

func TestPort(t *testing.T) {
	t.Parallel()
	c := &corev1.Container{Ports: []corev1.ContainerPort{
		{Name: "web", ContainerPort: 8080}, {Name: "web", ContainerPort: 1}, {Name: "none"}, {ContainerPort: 9},
	}}
	for _, test := range []struct {
		in   intstr.IntOrString
		want int
		err  string
	}{
		{intstr.FromInt32(80), 80, ""},
		{intstr.FromInt32(65535), 65535, ""},
		{intstr.FromString("web"), 8080, ""},
		{intstr.FromInt32(0), 0, "invalid port number: 0"},
		{intstr.FromInt32(-1), 0, "invalid port number: -1"},
		{intstr.FromInt32(65536), 0, "invalid port number: 65536"},
		{intstr.FromString("none"), 0, "invalid port number: 0"},
		{intstr.FromString("80"), 0, `port "80" not found`},
		{intstr.FromString("admin"), 0, `port "admin" not found`},
	} {
		got, err := Port(test.in, c)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got != test.want || text != test.err {
			t.Errorf("%s: %d, %q; want %d, %q", test.in.String(), got, text, test.want, test.err)
		}
	}
}

func TestDialLingersForASecond(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := Dial(t.Context(), l.Addr().String(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var linger *unix.Linger
	var failed error
	if err := raw.Control(func(fd uintptr) {
		linger, failed = unix.GetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER)
	}); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	if linger.Onoff != 1 || linger.Linger != 1 {
		t.Errorf("SO_LINGER is %+v, want on, 1 s", *linger)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Dial(ctx, "127.0.0.1:1", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
