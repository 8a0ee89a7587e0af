package localsocket

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// qps and burst bound the calls of all clients together, streams excepted,
	// as the kubelet does (pkg/kubelet/apis/podresources: DefaultQPS).
	qps   = 100
	burst = 10
	// What clients can make the agent hold: connections, calls on each, bytes of
	// a request and of an answer.
	maxConns    = 64
	maxCalls    = 16
	maxRequest  = 64 << 10
	maxAnswer   = 256 << 20
	handshake   = 10 * time.Second
	rebind      = 5 * time.Second
	maxMetadata = 64 << 10
)

// Config is a socket to serve.
type Config struct {
	// Path is where the socket is. Its directory is made, the one above is there.
	Path string
	// Register adds the services. It is called again when the socket has to be
	// made again.
	Register func(grpc.ServiceRegistrar)
	// Unary and Stream see the calls that the limit has let pass; nil: nothing
	// does.
	Unary  grpc.UnaryServerInterceptor
	Stream grpc.StreamServerInterceptor
}

// Serve answers until ctx ends, and returns when no call is served any more. The
// error is always nil.
func Serve(ctx context.Context, cfg Config, log *zap.Logger) error {
	for {
		err := serve(ctx, cfg, log)
		if ctx.Err() != nil {
			return nil
		}
		log.Warn("cannot serve on a socket of the node, will try again",
			zap.String("socket", cfg.Path), zap.Duration("in", rebind), zap.Error(err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rebind):
		}
	}
}

func serve(ctx context.Context, cfg Config, log *zap.Logger) error {
	l, err := listen(ctx, cfg.Path)
	if err != nil {
		return err
	}
	srv := newServer(cfg)
	cfg.Register(srv)
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		srv.Stop()
	})
	log.Info("serving", zap.String("socket", cfg.Path))
	err = srv.Serve(few{l, make(chan struct{}, maxConns)})
	if !stop() {
		<-stopped
		return nil
	}
	srv.Stop()
	return fmt.Errorf("serving on %s: %w", cfg.Path, err)
}

// newServer returns a server that ends its calls, and waits for them, when it is
// stopped.
func newServer(cfg Config) *grpc.Server {
	limiter := rate.NewLimiter(qps, burst)
	unary := []grpc.UnaryServerInterceptor{
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if !limiter.Allow() {
				return nil, status.Error(codes.ResourceExhausted, "rejected by rate limit")
			}
			return next(ctx, req)
		},
	}
	if cfg.Unary != nil {
		unary = append(unary, cfg.Unary)
	}
	options := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(unary...),
		grpc.MaxRecvMsgSize(maxRequest), grpc.MaxSendMsgSize(maxAnswer), grpc.MaxHeaderListSize(maxMetadata),
		grpc.MaxConcurrentStreams(maxCalls), grpc.ConnectionTimeout(handshake), grpc.WaitForHandlers(true),
	}
	if cfg.Stream != nil {
		options = append(options, grpc.StreamInterceptor(cfg.Stream))
	}
	return grpc.NewServer(options...)
}
