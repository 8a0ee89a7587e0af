package grpc

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/probe/answer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	agent = "kube-probe/1.37"
	// patience is the timeout of probes that are answered.
	patience = 30 * time.Second
	// short is the timeout of probes that are not.
	short = 300 * time.Millisecond
)

// health is a health service that is a function.
type healthFunc struct {
	healthpb.UnimplementedHealthServer
	check func(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error)
}

// Check is part of healthpb.HealthServer.
func (h healthFunc) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return h.check(ctx, r)
}

// serve serves a health service, or none when it is nil, and returns the port.
func serve(t *testing.T, h healthpb.HealthServer) int32 {
	t.Helper()
	l := listen(t)
	s := grpc.NewServer()
	if h != nil {
		healthpb.RegisterHealthServer(s, h)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return port(l)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func port(l net.Listener) int32 { return int32(l.Addr().(*net.TCPAddr).Port) }

func probe(t *testing.T, port int32, service *string, timeout time.Duration) answer.Answer {
	t.Helper()
	got, err := Probe(t.Context(), &corev1.GRPCAction{Port: port, Service: service}, "127.0.0.1", agent, timeout)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestProbe(t *testing.T) {
	t.Parallel()
	h := health.NewServer()
	h.SetServingStatus("off", healthpb.HealthCheckResponse_NOT_SERVING)
	h.SetServingStatus("unsure", healthpb.HealthCheckResponse_UNKNOWN)
	p := serve(t, h)
	off, unsure, nobody := "off", "unsure", "nobody"
	for _, c := range []struct {
		service *string
		want    answer.Answer
	}{
		{nil, answer.Answer{Result: answer.Success}},
		{&off, answer.Failed(`service unhealthy (responded with "NOT_SERVING")`)},
		{&unsure, answer.Failed(`service unhealthy (responded with "UNKNOWN")`)},
		{&nobody, answer.Failed("error: health rpc probe failed: rpc error: code = NotFound desc = unknown service")},
	} {
		if got := probe(t, p, c.service, patience); got != c.want {
			t.Errorf("got %+v, want %+v", got, c.want)
		}
	}
}

func TestServerWithoutHealth(t *testing.T) {
	t.Parallel()
	want := "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): " +
		"unknown service grpc.health.v1.Health"
	if got := probe(t, serve(t, nil), nil, patience); got != answer.Failed(want) {
		t.Errorf("got %+v, want %q", got, want)
	}
}

func TestUserAgent(t *testing.T) {
	t.Parallel()
	var agents []string
	p := serve(t, healthFunc{check: func(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		agents = md.Get("user-agent")
		return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
	}})
	if got := probe(t, p, nil, patience); got.Result != answer.Success {
		t.Fatalf("got %+v", got)
	}
	if len(agents) != 1 || !strings.HasPrefix(agents[0], agent+" ") {
		t.Errorf("user agents %q, want one that begins with %q", agents, agent)
	}
}

func TestServersThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	silent := listen(t) // the kernel accepts, nobody speaks
	gone := listen(t)
	_ = gone.Close()
	hangs := serve(t, healthFunc{check: func(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	noConnection := func(p int32) string {
		return fmt.Sprintf(`timeout: failed to connect service "127.0.0.1:%d" within 300ms: context deadline exceeded`, p)
	}
	for name, c := range map[string]struct {
		port int32
		want string
	}{
		"no handshake":  {port(silent), noConnection(port(silent))},
		"not listening": {port(gone), noConnection(port(gone))},
	} {
		if got := probe(t, c.port, nil, short); got != answer.Failed(c.want) {
			t.Errorf("%s: got %+v, want %q", name, got, c.want)
		}
	}
	// On a slow machine even the connection may take too long.
	got := probe(t, hangs, nil, 2*time.Second)
	if got.Result != answer.Failure || !strings.HasPrefix(got.Output, "timeout: ") {
		t.Errorf("hanging call: got %+v, want a timeout", got)
	}
}

func TestSizesAreLimited(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("x", 1<<20)
	for name, check := range map[string]func(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error){
		"headers": func(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
			if err := grpc.SetHeader(ctx, metadata.Pairs("x", huge)); err != nil {
				return nil, err
			}
			return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
		},
		"message": func(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
			r := &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}
			// A field that nobody knows: number 15, as bytes.
			r.ProtoReflect().SetUnknown(append([]byte{15<<3 | 2, 0x80, 0x80, 0x40}, huge...))
			return r, nil
		},
		"error": func(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
			return nil, status.Error(codes.Internal, strings.Repeat("x", 20<<10))
		},
	} {
		got := probe(t, serve(t, healthFunc{check: check}), nil, patience)
		if got.Result != answer.Failure || !strings.HasPrefix(got.Output, "error: health rpc probe failed: rpc error: code = ") ||
			len(got.Output) > answer.MaxOutput {
			t.Errorf("%s: %s, %d bytes: %.100q", name, got.Result, len(got.Output), got.Output)
		}
	}
}

func TestNoAddressIsAnError(t *testing.T) {
	t.Parallel()
	if got, err := Probe(t.Context(), &corev1.GRPCAction{Port: 1}, "", agent, short); err == nil {
		t.Errorf("got %+v, want an error", got)
	}
}

func TestEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	silent := listen(t)
	got, err := Probe(ctx, &corev1.GRPCAction{Port: port(silent)}, "127.0.0.1", agent, time.Hour)
	if err != nil || got.Result != answer.Failure {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, health.NewServer())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	got, err := Probe(t.Context(), &corev1.GRPCAction{Port: port(l)}, "::1", agent, patience)
	if err != nil || got.Result != answer.Success {
		t.Errorf("got %+v, %v", got, err)
	}
	s.Stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
