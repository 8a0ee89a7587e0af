package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors that the starter of a keeper hands over.
const (
	// HoldFD is a pipe whose closing ends the bed.
	HoldFD = 3
	// ReadyFD takes "ok" or an error once the keeper accepts requests.
	ReadyFD = 4
)

type server struct {
	spec     *Spec
	family   *family
	registry *imageRegistry
	detached atomic.Bool
	shutdown chan chan []string
}

// Run is the keeper of the bed in dir; it returns when the bed was torn down.
func Run(ctx context.Context, dir string) error {
	ready := os.NewFile(ReadyFD, "ready")
	s, err := prepare(ctx, dir)
	if err != nil {
		fmt.Fprintln(ready, err)
		return errors.Join(err, ready.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	go s.family.reap(ctx)
	listener, err := s.listen(ctx)
	if err == nil {
		err = setup(s.spec)
	}
	if err != nil {
		fmt.Fprintln(ready, err)
		_ = ready.Close()
		s.end()
		return err
	}
	go s.accept(ctx, listener)
	fmt.Fprintln(ready, "ok")
	_ = ready.Close()

	released := make(chan struct{})
	go s.hold(released)
	select {
	case answer := <-s.shutdown:
		answer <- s.end()
		<-answer // until the answer was sent
	case <-released:
		s.end()
	case sig := <-signals:
		fmt.Fprintf(os.Stderr, "keeper: %s, tearing the bed down\n", sig)
		s.end()
	}
	return nil
}

func prepare(ctx context.Context, dir string) (*server, error) {
	spec, err := Load(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the parent of orphaned processes: %w", err)
	}
	s := &server{spec: spec, family: newFamily(), registry: newImageRegistry(), shutdown: make(chan chan []string)}
	if port := spec.Ports["registry"]; port != 0 {
		if err := s.registry.serve(ctx, port); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *server) listen(ctx context.Context) (net.Listener, error) {
	_ = os.Remove(s.spec.Socket())
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", s.spec.Socket())
	if err != nil {
		return nil, fmt.Errorf("listen for requests: %w", err)
	}
	return listener, nil
}

// hold waits until the starter is gone, unless it detached.
func (s *server) hold(released chan<- struct{}) {
	pipe := os.NewFile(HoldFD, "hold")
	_, _ = io.Copy(io.Discard, pipe)
	if !s.detached.Load() {
		close(released)
	}
}

// end tears the bed down and returns what could not be removed.
func (s *server) end() []string {
	s.family.mu.Lock()
	s.family.closed = true
	s.family.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	failed := teardown(ctx, s.spec, s.run)
	for _, f := range failed {
		fmt.Fprintln(os.Stderr, "keeper: not removed:", f)
	}
	return failed
}

func (s *server) run(ctx context.Context, argv ...string) (string, error) {
	path, err := findTool(argv[0])
	if err != nil {
		return "", err
	}
	argv[0] = path
	return s.family.tool(ctx, argv...)
}

func (s *server) accept(ctx context.Context, listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go s.serve(ctx, conn)
	}
}

func (s *server) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	var req request
	if err := json.NewDecoder(conn).Decode(&req); err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // the client left
		_, _ = io.Copy(io.Discard, conn)
		cancel()
	}()
	if req.Op == opShutdown {
		answer := make(chan []string)
		s.shutdown <- answer
		_ = json.NewEncoder(conn).Encode(response{Leftovers: <-answer})
		close(answer)
		return
	}
	resp, err := s.handle(ctx, req)
	if err != nil {
		resp.Error, resp.NotRunning = err.Error(), errors.Is(err, ErrNotRunning)
	}
	_ = json.NewEncoder(conn).Encode(resp)
}

func (s *server) handle(ctx context.Context, req request) (response, error) {
	switch req.Op {
	case opStart:
		if req.Process == nil || len(req.Process.Argv) == 0 {
			return response{}, errors.New("no process was given")
		}
		p := *req.Process
		p.Env = append(p.Env, EnvMark+"="+s.spec.Dir)
		pid, err := s.family.start(p)
		return response{PID: pid}, err
	case opSignal:
		return response{}, s.family.signal(req.Name, req.Signal)
	case opWait:
		c := s.family.running(req.Name)
		if c == nil {
			return response{}, nil
		}
		select {
		case <-c.done:
			return response{}, nil
		case <-ctx.Done():
			return response{}, fmt.Errorf("wait for the end of %s: %w", req.Name, ctx.Err())
		}
	case opStatus:
		return response{Statuses: s.family.statuses()}, nil
	case opDetach:
		s.detached.Store(true)
		return response{}, nil
	case opRegistry:
		if req.Registry == nil {
			return response{}, errors.New("no settings of the registry were given")
		}
		s.registry.set(*req.Registry)
		return response{}, nil
	default:
		return response{}, fmt.Errorf("unknown request %q", req.Op)
	}
}
