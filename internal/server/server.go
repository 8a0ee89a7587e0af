package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Pods are snapshots of the node's pods.
type Pods interface {
	// Views returns all of them, View the one of a UID or nil.
	Views() []*pod.View
	View(uid types.UID) *pod.View
}

// Runtime is what the API needs of the container runtime. Container IDs are
// the runtime's own, without its name.
type Runtime interface {
	Exec(ctx context.Context, id string, command []string, s pod.Streams) (*url.URL, error)
	Attach(ctx context.Context, id string, s pod.Streams) (*url.URL, error)
	PortForward(ctx context.Context, sandboxID string, ports []int32) (*url.URL, error)
	ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (pod.ExecResult, error)
	// LogPath is where a container logs to, Running what the runtime itself
	// says is running.
	LogPath(ctx context.Context, id string) (string, error)
	Running(ctx context.Context) ([]*corev1.Pod, error)
}

// Logs reads container logs.
type Logs interface {
	// Read writes the log file at path. With Follow it goes on until ended says
	// that nothing more will come; ended also returns what is closed when it is
	// worth asking again.
	Read(ctx context.Context, w pod.LogWriter, path string, opts pod.LogOptions, ended func() (bool, <-chan struct{})) error
}

// Config says what is served.
type Config struct {
	// Address is where TLS is served, ReadOnly where a few things are served in
	// plain text to everybody; with a zero port they are not.
	Address, ReadOnly netip.AddrPort
	TLS               *tls.Config
	// Guard says who may pass: it calls the handler or answers itself.
	Guard    func(http.Handler) http.Handler
	Handlers Handlers
	// SystemLogDir is what /logs/ shows, normally /var/log.
	SystemLogDir string
	// CheckpointDir is where checkpoints of containers are written.
	CheckpointDir string
	// Version is what /statusz shows as the program's version: v1.37.1.
	Version string
}

// Handlers switches parts of the API (KubeletConfiguration: enable*Handler(s)).
type Handlers struct {
	Debugging, SystemLogs, Profiling, ContentionProfiling, Flags bool
	// WebSockets and SplitLogStreams are the feature gates
	// ExtendWebSocketsToKubelet and PodLogsQuerySplitStreams.
	WebSockets, SplitLogStreams bool
	// LogQuery is enableSystemLogQuery. Checkpoint, Flagz, Statusz and AllocatedPods
	// are the feature gates ContainerCheckpoint, ComponentFlagz, ComponentStatusz and
	// KubeletAllocatedPodsEndpoint.
	LogQuery, Checkpoint, Flagz, Statusz, AllocatedPods bool
}

// Checkpoints writes the state of containers into files.
type Checkpoints interface {
	// Checkpoint makes the archive at path within the given seconds; 0 leaves them
	// to the runtime.
	Checkpoint(ctx context.Context, id, path string, seconds int64) error
}

// Sources is where answers come from.
type Sources struct {
	Pods    Pods
	Runtime Runtime
	Logs    Logs
	Metrics http.Handler
	// Probes is what /metrics/probes shows.
	Probes http.Handler
	// Count, if set, counts the requests that reach a port ("readwrite",
	// "readonly"), those that are refused too, and Upgraded those whose streams go
	// through a WebSocket (exec, attach, portforward).
	Count    func(port string, next http.Handler) http.Handler
	Upgraded func(what string)
	// Checkpoints is asked if Handlers.Checkpoint is on.
	Checkpoints Checkpoints
	// Flags are the command line's flags with their values, for /flagz.
	Flags map[string]string
	// Resource is /metrics/resource. Summary is what /stats/summary shows as JSON, all
	// or CPU and memory alone. nil: this is not served.
	Resource http.Handler
	// CAdvisor is /metrics/cadvisor; nil: this is not served.
	CAdvisor http.Handler
	Summary  func(ctx context.Context, onlyCPUAndMemory bool) (any, error)
	// Alive returns an error when the loop that drives pods does not answer.
	Alive func(context.Context) error
	// Config is what /configz shows under "kubeletconfig".
	Config any
	// SetVerbosity changes the log level; the error is the client's.
	SetVerbosity func(level string) error
}

// Limits on clients. What the kubelet limits, too, has its value.
const (
	maxHeader     = 1 << 20
	maxBody       = 1 << 20
	idleTimeout   = 90 * time.Second
	headerTimeout = 10 * time.Second // also for the TLS handshake, and for who is not let in
	// requestTimeout bounds requests that answer at once, streamStall the time
	// in which a client that reads a stream takes nothing.
	requestTimeout = time.Minute
	streamStall    = 4 * time.Hour
	// maxStrangers bounds connections of which no request was let in yet, the
	// others what those who were let in may hold.
	maxStrangers = 4096
	maxFollowers = 4096
	maxStreams   = 2048
	// maxQueries bounds the programs that look into the node's logs.
	maxQueries = 16
	// A crowd is so many streams and log readers. Some time after one has gone,
	// the memory it took is given back to the machine.
	crowd  = 100
	settle = 2 * time.Second
	// rebind is how long a taken port is left alone.
	rebind = 5 * time.Second
)

// Server serves the node's API.
type Server struct {
	cfg       Config
	from      Sources
	log       *zap.Logger
	followers chan struct{}
	streams   chan struct{}
	queries   chan struct{}
	// left counts what ended since memory was given back.
	left atomic.Int64
}

// New returns a server that does not listen yet.
func New(cfg Config, from Sources, log *zap.Logger) *Server {
	if from.Count == nil {
		from.Count = func(_ string, next http.Handler) http.Handler { return next }
	}
	if from.Upgraded == nil {
		from.Upgraded = func(string) {}
	}
	return &Server{
		cfg: cfg, from: from, log: log,
		followers: make(chan struct{}, maxFollowers), streams: make(chan struct{}, maxStreams),
		queries: make(chan struct{}, maxQueries),
	}
}

// Run serves until ctx ends, and returns when no request is served any more. A
// port that is taken is tried again for ever: pods matter more than the API.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if s.cfg.Address.Port() != 0 {
		group.Go(func() error { return s.serve(ctx, s.cfg.Address, s.cfg.TLS, s.Handler()) })
	}
	if s.cfg.ReadOnly.Port() != 0 {
		group.Go(func() error { return s.serve(ctx, s.cfg.ReadOnly, nil, s.ReadOnlyHandler()) })
	}
	return group.Wait()
}

func (s *Server) serve(ctx context.Context, addr netip.AddrPort, secure *tls.Config, h http.Handler) error {
	for {
		err := s.serveOnce(ctx, addr, secure, h)
		if ctx.Err() != nil {
			return nil
		}
		s.log.Warn("cannot serve the node's API, will try again; is another kubelet running?",
			zap.Stringer("address", addr), zap.Duration("in", rebind), zap.Error(err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rebind):
		}
	}
}

func (s *Server) serveOnce(ctx context.Context, addr netip.AddrPort, secure *tls.Config, h http.Handler) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr.String())
	if err != nil {
		return fmt.Errorf("listening on %s: %w", addr, err)
	}
	return s.serveOn(ctx, l, secure, h)
}

// serveOn serves on a listener until ctx ends or the listener fails, and closes
// it. It returns when the last request has been served.
func (s *Server) serveOn(ctx context.Context, l net.Listener, secure *tls.Config, h http.Handler) error {
	errorLog, err := zap.NewStdLogAt(s.log.Named("http"), zap.DebugLevel)
	if err != nil {
		return fmt.Errorf("making the HTTP server's log: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var doors doors
	defer doors.shut()
	srv := &http.Server{
		Handler:   doors.through(h),
		TLSConfig: secure, ErrorLog: errorLog, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		// Streams outlive what the server knows of: they end with this context.
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: remember,
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	l = newStrangers(l, maxStrangers)
	serve := srv.Serve
	if secure != nil {
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	s.log.Info("serving the node's API", zap.Stringer("address", l.Addr()), zap.Bool("tls", secure != nil))
	if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
		_ = srv.Close()
		return fmt.Errorf("serving on %s: %w", l.Addr(), err)
	}
	return nil
}
