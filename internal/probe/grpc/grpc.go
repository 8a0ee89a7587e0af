package grpc

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/probe/answer"
	"nodeagent.dev/nodeagent/internal/probe/endpoint"
)

// maxMessage is how much a target may send, in bytes: as one message, ahead of
// being read, and as headers.
const maxMessage = 64 << 10

// Probe asks the health service at a port of the pod with the address ip. The
// answer SERVING within timeout is a success. An error means that there was
// nothing to connect to.
func Probe(ctx context.Context, a *corev1.GRPCAction, ip, userAgent string, timeout time.Duration) (answer.Answer, error) {
	address, err := endpoint.Address("", ip, int(a.Port))
	if err != nil {
		return answer.Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := connect(address, userAgent)
	if err != nil {
		return answer.Failed(fmt.Sprintf("error: failed to connect service at %q: %+v", address, err)), nil
	}
	defer func() { _ = conn.Close() }()
	if !ready(ctx, conn) {
		return answer.Failed(fmt.Sprintf("timeout: failed to connect service %q within %v: %+v", address, timeout, ctx.Err())), nil
	}
	req := &healthpb.HealthCheckRequest{}
	if a.Service != nil {
		req.Service = *a.Service
	}
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, req)
	switch {
	case err != nil:
		return answer.Failed(explain(err, timeout)), nil
	case resp.GetStatus() != healthpb.HealthCheckResponse_SERVING:
		return answer.Failed(fmt.Sprintf("service unhealthy (responded with %q)", resp.GetStatus().String())), nil
	}
	return answer.Answer{Result: answer.Success}, nil
}

// connect prepares the connection of one probe. Closing it ends its dials.
func connect(address, userAgent string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithUserAgent(userAgent),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, to string) (net.Conn, error) {
			return endpoint.Dial(ctx, to, 0)
		}),
		grpc.WithInitialWindowSize(maxMessage),
		grpc.WithInitialConnWindowSize(maxMessage),
		grpc.WithMaxHeaderListSize(maxMessage),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithDisableServiceConfig(),
	)
}

// ready waits for the connection, and reports whether it came before ctx ended.
// One that failed is tried again, as the kubelet does.
func ready(ctx context.Context, conn *grpc.ClientConn) bool {
	for {
		conn.Connect()
		state := conn.GetState()
		if state == connectivity.Ready {
			return true
		}
		if !conn.WaitForStateChange(ctx, state) {
			return false
		}
	}
}

// explain says what became of a question that was not answered.
func explain(err error, timeout time.Duration) string {
	switch st, _ := status.FromError(err); st.Code() {
	case codes.Unimplemented:
		return "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): " + st.Message()
	case codes.DeadlineExceeded:
		return fmt.Sprintf("timeout: health rpc did not complete within %v", timeout)
	default:
		return fmt.Sprintf("error: health rpc probe failed: %+v", err)
	}
}
