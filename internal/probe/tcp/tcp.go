package tcp

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/probe/answer"
	"nodeagent.dev/nodeagent/internal/probe/endpoint"
)

// Probe connects to a port of container c, whose pod has the address ip, and
// hangs up. It is a success when the connection is there within timeout. An error
// means that there was nothing to connect to.
func Probe(ctx context.Context, a *corev1.TCPSocketAction, c *corev1.Container, ip string, timeout time.Duration) (answer.Answer, error) {
	port, err := endpoint.Port(a.Port, c)
	if err != nil {
		return answer.Answer{}, err
	}
	address, err := endpoint.Address(a.Host, ip, port)
	if err != nil {
		return answer.Answer{}, err
	}
	conn, err := endpoint.Dial(ctx, address, timeout)
	if err != nil {
		return answer.Failed(err.Error()), nil
	}
	_ = conn.Close() // that it was open is all that was asked
	return answer.Answer{Result: answer.Success}, nil
}
