package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// lingerSeconds is how long the system tries to hand over what is unsent when a
// probe's connection is closed; the kubelet has the same, so that frequent
// probes do not use up the node's ports.
const lingerSeconds = 1

// Address returns host:port for a probe that names host, or no host and means
// the pod's address ip.
func Address(host, ip string, port int) (string, error) {
	if host == "" {
		host = ip
	}
	if host == "" {
		// Without this check the dialer would ask the node itself.
		return "", errors.New("the pod has no address yet and the probe names no host")
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// Port returns the number of a port that a probe of container c gives by number
// or by name.
func Port(port intstr.IntOrString, c *corev1.Container) (int, error) {
	n := port.IntValue()
	if port.Type == intstr.String {
		found := false
		for _, p := range c.Ports {
			if p.Name == port.StrVal {
				n, found = int(p.ContainerPort), true
				break
			}
		}
		if !found {
			return 0, fmt.Errorf("port %q not found", port.StrVal)
		}
	}
	if n < 1 || n > 65535 {
		return 0, fmt.Errorf("invalid port number: %d", n)
	}
	return n, nil
}

// Dial opens a TCP connection. Zero timeout leaves the end to ctx.
func Dial(ctx context.Context, address string, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if c, ok := conn.(*net.TCPConn); ok {
		// What cannot be set is set to the system's default: no reason to fail.
		_ = c.SetLinger(lingerSeconds)
	}
	return conn, nil
}
