package bed

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Start starts a bed for a test and ends it with the test. When the test
// fails, the end of every log is shown and the whole logs are kept.
func Start(t testing.TB, o Options) *Bed {
	t.Helper()
	if o.Output == nil {
		o.Output = testLog{t}
	}
	b, err := New(t.Context(), o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b.report(t)
		}
		if err := b.Close(); err != nil {
			t.Errorf("%v", err)
		}
	})
	return b
}

// testLog shows progress while a test runs, which t.Log would not.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	if testing.Verbose() || strings.Contains(string(p), "first time") || strings.Contains(string(p), "installing") {
		return fmt.Fprintf(os.Stderr, "%s: %s", l.t.Name(), p) //nolint:wrapcheck // passed on
	}
	return len(p), nil
}

func (b *Bed) report(t testing.TB) {
	t.Helper()
	logs, _ := filepath.Glob(filepath.Join(b.spec.LogDir(), "*.log"))
	for _, path := range logs {
		content, err := os.ReadFile(path)
		if err != nil || filepath.Base(path) == "audit.log" || len(content) == 0 {
			continue
		}
		lines := 8
		if filepath.Base(path) == "agent.log" {
			lines = 30
		}
		t.Logf("the end of %s:\n%s", filepath.Base(path), tail(string(content), lines))
	}
	if pods, err := b.Crictl(context.Background(), "ps", "-a"); err == nil {
		t.Logf("containers:\n%s", pods)
	}
	t.Log(strings.TrimSpace(b.keepLogs()))
}

// keepLogs copies the logs to where they outlive the bed and says where.
func (b *Bed) keepLogs() string {
	base := os.Getenv(LogsEnv)
	if base == "" {
		base = filepath.Join(os.TempDir(), "nodeagent-bed-logs")
	}
	if err := os.MkdirAll(base, 0o750); err != nil {
		return fmt.Sprintf("\n(the logs could not be kept: %v)", err)
	}
	dir, err := os.MkdirTemp(base, b.Name+"-")
	if err != nil {
		return fmt.Sprintf("\n(the logs could not be kept: %v)", err)
	}
	for _, from := range []string{b.spec.LogDir(), b.PodLogsDir} {
		_ = os.CopyFS(filepath.Join(dir, filepath.Base(from)), os.DirFS(from))
	}
	for _, file := range []string{b.KubeletConfig, filepath.Join(b.Dir, "containerd.toml")} {
		if err := copyFile(file, filepath.Join(dir, filepath.Base(file))); err != nil {
			continue // not written yet
		}
	}
	return "\nlogs are kept in " + dir
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}
