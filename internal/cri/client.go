package cri

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
)

const (
	defaultRequestTimeout = 2 * time.Minute
	// maxMessage is the largest reply taken, in bytes (kubelet: cri-client).
	maxMessage = 16 << 20
	// A runtime that was restarted is used again within maxReconnect.
	baseReconnect = 50 * time.Millisecond
	maxReconnect  = time.Second
	dialTimeout   = 5 * time.Second
)

// Config says where the runtime is and how long to wait for it.
type Config struct {
	// RuntimeEndpoint is containerRuntimeEndpoint, such as
	// unix:///run/containerd/containerd.sock. ImageEndpoint is the same when empty.
	RuntimeEndpoint string
	ImageEndpoint   string
	// RequestTimeout is runtimeRequestTimeout; zero means two minutes.
	RequestTimeout time.Duration
	// Node returns what messages depend on beside the pod; nil means nothing.
	// It is asked for every message and must be cheap.
	Node func() containerspec.Node
	// Observe, if set, hears of every call to the runtime: the kubelet's
	// operation name ("run_podsandbox"), how long it took and how it ended.
	Observe func(operation string, took time.Duration, err error)
	// Tracing, if set, gets a span of every call to the runtime.
	Tracing trace.TracerProvider
	// Event, if set, hears how long each event took from the runtime to here.
	Event func(age time.Duration)
	// ReadMessage reads the file on the node that a container had at its
	// terminationMessagePath; a missing one is empty. TailLog reads the end of a
	// container's log. Both are asked when a container has ended, with paths that
	// the runtime reports and nobody has checked. Without them, nil, there are no
	// messages but the runtime's.
	ReadMessage func(hostPath string) (string, error)
	TailLog     func(logPath string) (string, error)
}

// Client is a container runtime. It is safe for concurrent use.
type Client struct {
	cfg     Config
	log     *zap.Logger
	runtime runtimeapi.RuntimeServiceClient
	images  runtimeapi.ImageServiceClient
	cache   cache
	closers []io.Closer
}

// New returns a client of the runtime at the configured endpoint. It connects
// when it is used, so a runtime that is not up yet is no error here.
func New(cfg Config, log *zap.Logger) (*Client, error) {
	rt, err := connect(cfg.RuntimeEndpoint, cfg.Tracing, log)
	if err != nil {
		return nil, err
	}
	img := rt
	if cfg.ImageEndpoint != "" && cfg.ImageEndpoint != cfg.RuntimeEndpoint {
		if img, err = connect(cfg.ImageEndpoint, cfg.Tracing, log); err != nil {
			return nil, errors.Join(err, rt.Close())
		}
	}
	c := NewWithConns(rt, img, cfg, log)
	c.closers = append(c.closers, rt)
	if img != rt {
		c.closers = append(c.closers, img)
	}
	return c, nil
}

// NewWithConns returns a client over given connections, which Close leaves open.
func NewWithConns(rt, img grpc.ClientConnInterface, cfg Config, log *zap.Logger) *Client {
	if cfg.RequestTimeout <= 0 {
		cfg.RequestTimeout = defaultRequestTimeout
	}
	if cfg.Node == nil {
		cfg.Node = func() containerspec.Node { return containerspec.Node{} }
	}
	if cfg.Observe == nil {
		cfg.Observe = func(string, time.Duration, error) {}
	}
	if cfg.Event == nil {
		cfg.Event = func(time.Duration) {}
	}
	return &Client{
		cfg: cfg, log: log,
		runtime: runtimeapi.NewRuntimeServiceClient(rt),
		images:  runtimeapi.NewImageServiceClient(img),
	}
}

// Close ends the connections that New made.
func (c *Client) Close() error {
	var errs []error
	for _, conn := range c.closers {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

func connect(endpoint string, tracing trace.TracerProvider, log *zap.Logger) (*grpc.ClientConn, error) {
	target, err := targetOf(endpoint)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(endpoint, "://") {
		log.Warn("containerRuntimeEndpoint has no scheme; use the full URL", zap.String("endpoint", endpoint), zap.String("use", "unix://"+endpoint))
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: baseReconnect, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxReconnect},
			MinConnectTimeout: dialTimeout,
		}),
	}
	if tracing != nil {
		options = append(options, grpc.WithStatsHandler(otelgrpc.NewClientHandler(
			otelgrpc.WithTracerProvider(tracing), otelgrpc.WithPropagators(propagation.TraceContext{}))))
	}
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, fmt.Errorf("use container runtime endpoint %q: %w", endpoint, err)
	}
	return conn, nil
}

// targetOf turns an endpoint into a gRPC target.
func targetOf(endpoint string) (string, error) {
	scheme, rest, hasScheme := strings.Cut(endpoint, "://")
	switch {
	case endpoint == "":
		return "", errors.New("containerRuntimeEndpoint is empty: set it to the runtime's socket, such as unix:///run/containerd/containerd.sock")
	case !hasScheme && filepath.IsAbs(endpoint):
		return "unix://" + endpoint, nil
	case scheme == "unix" && filepath.IsAbs(rest):
		return "unix://" + rest, nil
	case scheme == "tcp":
		if _, _, err := net.SplitHostPort(rest); err != nil {
			return "", fmt.Errorf("containerRuntimeEndpoint %q: want tcp://host:port: %w", endpoint, err)
		}
		return "passthrough:///" + rest, nil
	}
	return "", fmt.Errorf("containerRuntimeEndpoint %q: want unix:///path/to.sock or tcp://host:port", endpoint)
}
