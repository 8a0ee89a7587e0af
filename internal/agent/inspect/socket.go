package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	socketName = "nodeagent.sock"
	podsPath   = "/v1/pods"
	timeout    = 10 * time.Second
	maxReply   = 256 << 20
)

// SocketPath is where an agent with the given root directory listens.
func SocketPath(rootDir string) string { return filepath.Join(rootDir, socketName) }

// Serve answers on the socket until ctx ends. Only the owner may open it.
func Serve(ctx context.Context, path string, views func() []*pod.View) error {
	l, err := listen(ctx, path)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+podsPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(podsOf(views()))
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout, IdleTimeout: timeout}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the inspection socket %s: %w", path, err)
	}
	return nil
}

// socketMode lets root alone ask.
const socketMode = 0o600

// listen makes the socket, in place of one that a dead agent left behind. It has its
// mode before it has its name, which keeps others out from the first moment on. (A
// umask would, too, but is that of the whole process: of whoever makes files now.)
func listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing the old inspection socket: %w", err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if ctl := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), socketMode) }); ctl != nil {
			return ctl //nolint:wrapcheck // Listen says of what
		}
		return err
	}}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("making the inspection socket %s: %w", path, err)
	}
	return l, nil
}

// Pods asks the agent that listens at path.
func Pods(ctx context.Context, path string) ([]Pod, error) {
	client := http.Client{Timeout: timeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://nodeagent"+podsPath, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the agent at %s: %w; does it run, with this --root-dir, and are you root?", path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	var pods []Pod
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReply)).Decode(&pods); err != nil {
		return nil, fmt.Errorf("reading the answer of the agent at %s: %w", path, err)
	}
	return pods, nil
}
