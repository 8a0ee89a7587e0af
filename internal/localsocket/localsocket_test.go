package localsocket

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serveHealth serves gRPC's health service at path until the test ends.
func serveHealth(t *testing.T, path string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, Config{Path: path, Register: func(r grpc.ServiceRegistrar) {
			healthv1.RegisterHealthServer(r, health.NewServer())
		}}, zaptest.NewLogger(t))
	}()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Error("Serve does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

// dial returns a client of the socket.
func dial(t *testing.T, path string, opts ...grpc.DialOption) healthv1.HealthClient {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+path, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return healthv1.NewHealthClient(conn)
}

// check calls once, and waits for a server that is not there yet.
func check(t *testing.T, c healthv1.HealthClient) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := c.Check(ctx, &healthv1.HealthCheckRequest{}, grpc.WaitForReady(true))
	return err
}

func TestWhatIsInTheWayIsReplaced(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func(path string) error{
		"nothing":           func(string) error { return nil },
		"a file":            func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a symlink":         func(path string) error { return os.Symlink(victim, path) },
		"a dangling link":   func(path string) error { return os.Symlink(victim+".none", path) },
		"an agent's socket": func(path string) error { _, err := net.Listen("unix", path); return err },
		"a half-made one": func(path string) error {
			return os.Symlink(victim, filepath.Join(filepath.Dir(path), freshName()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "dir", "kubelet.sock")
			if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o750), put(path)); err != nil {
				t.Fatal(err)
			}
			stop := serveHealth(t, path)
			client := dial(t, path)
			// An old socket answers nobody, and the new one comes without a gap.
			for deadline := time.Now().Add(30 * time.Second); ; {
				info, err := os.Lstat(path)
				if err == nil && info.Mode() == fs.ModeSocket|socketMode&^umask(t) && check(t, client) == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("no server at %v, %v", info, err)
				}
				time.Sleep(time.Millisecond)
			}
			stop()
			if _, err := os.Lstat(path); err != nil {
				t.Errorf("the socket went with the server: %v", err)
			}
			if text, err := os.ReadFile(victim); err != nil || string(text) != "precious" {
				t.Errorf("the link's target is %q, %v", text, err)
			}
			if _, err := os.Lstat(victim + ".none"); err == nil {
				t.Error("a dangling link was followed")
			}
			left, err := os.ReadDir(filepath.Dir(path))
			if err != nil || len(left) != 1 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// umask is what new files of this process do not get.
func umask(t *testing.T) fs.FileMode {
	t.Helper()
	path := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(path, 0o777); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return 0o777 &^ info.Mode().Perm()
}

func TestSocketsThatCannotBeMade(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{
		"no root":     filepath.Join(dir, "none", "dir", "s.sock"),
		"a file":      filepath.Join(dir, "file", "s.sock"),
		"a link":      filepath.Join(dir, "link", "s.sock"),
		"a directory": filepath.Join(dir, "full", "s.sock"),
		"too long":    filepath.Join(dir, strings.Repeat("x", 120), "s.sock"),
	} {
		switch name {
		case "a file":
			if err := os.WriteFile(filepath.Dir(path), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		case "a link":
			if err := os.Symlink(t.TempDir(), filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
		case "a directory":
			if err := os.MkdirAll(filepath.Join(path, "sub"), 0o750); err != nil {
				t.Fatal(err)
			}
		}
		l, err := listen(t.Context(), path)
		if err == nil {
			_ = l.Close()
			t.Errorf("%s: a socket", name)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "full")); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestACallIsEnded: whoever watches does not hold up the agent's end.
func TestACallIsEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d", "s.sock")
	stop := serveHealth(t, path)
	client := dial(t, path)
	if err := check(t, client); err != nil {
		t.Fatal(err)
	}
	watch, err := client.Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := watch.Recv(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the watch ended with %v", err)
	}
}

func TestLimits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d", "s.sock")
	serveHealth(t, path)
	client := dial(t, path)
	if err := check(t, client); err != nil {
		t.Fatal(err)
	}
	// A flood is refused, and what comes later is not.
	refused := 0
	for range 50 * burst {
		switch err := check(t, client); status.Code(err) {
		case codes.OK:
		case codes.ResourceExhausted:
			refused++
			if got := status.Convert(err).Message(); got != "rejected by rate limit" {
				t.Errorf("refused with %q", got)
			}
		default:
			t.Fatal(err)
		}
	}
	if refused == 0 {
		t.Log("this machine is too slow for a flood")
	}
	_, err := client.Check(t.Context(), &healthv1.HealthCheckRequest{Service: strings.Repeat("x", 2*maxRequest)})
	if c := status.Code(err); c != codes.ResourceExhausted || !strings.Contains(err.Error(), "larger than max") {
		t.Errorf("a large request: %v", err)
	}
}

func TestOneConnectionTooMany(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d", "s.sock")
	serveHealth(t, path)
	client := dial(t, path)
	if err := check(t, client); err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for range maxConns - 1 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	more, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	_ = more.SetReadDeadline(time.Now().Add(30 * time.Second))
	// The server's greeting is for those who are in.
	if n, err := more.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the one too many got %d bytes, %v", n, err)
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	again := dial(t, path)
	if err := check(t, again); err != nil {
		t.Errorf("after others have left: %v", err)
	}
}
