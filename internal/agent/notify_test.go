package agent

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
)

// systemd listens as systemd does, and sets the environment of a unit.
func systemd(t *testing.T, watchdog string) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", watchdog)
	return conn
}

// hear returns the next message, or "" when none comes within the limit.
func hear(t *testing.T, conn *net.UnixConn, limit time.Duration) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 256)
	n, err := conn.Read(buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

func TestNotifyReadyAndWatchdog(t *testing.T) {
	conn := systemd(t, "2000000")
	sick := make(chan error, 1)
	alive := func(context.Context) error {
		select {
		case err := <-sick:
			return err
		default:
			return nil
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- notify(ctx, alive, zap.NewNop()) }()
	if got := hear(t, conn, 10*time.Second); got != "READY=1" {
		t.Fatalf("first message %q, want READY=1", got)
	}
	if got := hear(t, conn, 10*time.Second); got != "WATCHDOG=1" {
		t.Fatalf("second message %q, want WATCHDOG=1", got)
	}
	sick <- errors.New("hung")
	began := time.Now()
	if got := hear(t, conn, 10*time.Second); got != "WATCHDOG=1" {
		t.Fatalf("message after recovery %q, want WATCHDOG=1", got)
	}
	if waited := time.Since(began); waited < 1500*time.Millisecond {
		t.Errorf("the watchdog was answered %s after the loop hung, want one answer left out", waited)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestNotifyRefusesShortWatchdog(t *testing.T) {
	systemd(t, "1000000")
	if err := notify(t.Context(), func(context.Context) error { return nil }, zap.NewNop()); err == nil {
		t.Error("a watchdog of one second was accepted")
	}
}
