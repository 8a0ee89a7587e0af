package fakecri

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	bufferSize     = 64 << 10
	maxMessageSize = 16 << 20
)

var errDown = errors.New("connect: connection refused (the fake runtime is down)")

// Server is a fake runtime. All methods are safe for concurrent use.
type Server struct {
	cfg Config

	mu      sync.Mutex
	state   *state
	listen  func() (net.Listener, error)
	lis     net.Listener
	dial    func(context.Context) (net.Conn, error)
	grpc    *grpc.Server
	down    bool
	closed  bool
	calls   map[string]int
	seq     int
	upTimer *time.Timer

	wg sync.WaitGroup
}

// New starts a fake runtime on an in-memory listener; connect with [Server.Dial].
// Inside a synctest bubble both ends live in the bubble.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, state: newState(cfg), calls: map[string]int{}}
	s.listen = func() (net.Listener, error) {
		l := bufconn.Listen(bufferSize)
		s.dial = l.DialContext
		return l, nil
	}
	if err := s.up(); err != nil {
		panic(err) // an in-memory listener does not fail
	}
	return s
}

// NewUnix starts a fake runtime on a unix socket at the path.
func NewUnix(cfg Config, path string) (*Server, error) {
	s := &Server{cfg: cfg, state: newState(cfg), calls: map[string]int{}}
	s.listen = func() (net.Listener, error) {
		s.dial = func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}
		return net.Listen("unix", path)
	}
	if err := s.up(); err != nil {
		return nil, fmt.Errorf("start a fake runtime at %s: %w", path, err)
	}
	return s, nil
}

// up opens the listener and serves it.
func (s *Server) up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	l, err := s.listen()
	if err != nil {
		return err
	}
	g := grpc.NewServer(
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream), grpc.WaitForHandlers(true),
		grpc.MaxRecvMsgSize(maxMessageSize), grpc.MaxSendMsgSize(maxMessageSize))
	cri.RegisterRuntimeServiceServer(g, &runtimeService{s: s})
	cri.RegisterImageServiceServer(g, &imageService{s: s})
	s.lis, s.grpc, s.down = l, g, false
	s.wg.Go(func() { _ = g.Serve(l) })
	return nil
}

// Dial returns a connection for [cri.NewWithConns] or a generated client. It
// reconnects within a second after a restart. The caller closes it.
func (s *Server) Dial(opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	o := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithIdleTimeout(0),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			s.mu.Lock()
			dial, down := s.dial, s.down || s.closed
			s.mu.Unlock()
			if down {
				return nil, errDown
			}
			return dial(ctx)
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageSize)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 2, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}),
	}
	return grpc.NewClient("passthrough:///fakecri", append(o, opts...)...)
}

// Restart breaks every connection, loses what r says, and comes up again after
// r.Down. It returns when the runtime is down; containers go on meanwhile.
func (s *Server) Restart(r Restart) {
	s.mu.Lock()
	if s.closed || s.down {
		s.mu.Unlock()
		return
	}
	s.down = true
	g := s.grpc
	s.state.restarted(r.Lose)
	s.mu.Unlock()
	g.Stop()
	again := func() {
		if err := s.up(); err != nil {
			panic(fmt.Sprintf("fakecri: come up again: %v", err))
		}
	}
	if r.Down <= 0 {
		again()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.upTimer = time.AfterFunc(r.Down, again)
	}
}

// Close ends the runtime and everything in it. No goroutine is left when it
// returns.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	if s.upTimer != nil {
		s.upTimer.Stop()
	}
	g := s.grpc
	s.state.close()
	s.mu.Unlock()
	g.Stop()
	s.wg.Wait()
}
