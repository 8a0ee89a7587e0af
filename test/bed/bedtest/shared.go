package bedtest

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"

	"nodeagent.dev/nodeagent/test/bed"
)

// logEnd is how much of an agent's log a failed test shows, in bytes.
const logEnd = 12000

// Shared is a bed that tests share, started by the first that asks for it.
type Shared struct {
	Options bed.Options
	once    sync.Once
	bed     *bed.Bed
	err     error
}

// Bed returns the bed; when the test fails the end of the agent's log is shown.
func (s *Shared) Bed(t testing.TB) *bed.Bed {
	t.Helper()
	s.once.Do(func() {
		o := s.Options
		o.Output = os.Stderr
		s.bed, s.err = bed.New(context.Background(), o)
	})
	if s.err != nil {
		t.Fatalf("no bed: %v", s.err)
	}
	ShowLog(t, s.bed)
	return s.bed
}

// Run runs the tests, then each check on the bed if it was started, then ends
// the bed. It returns the exit code. When the run is interrupted the bed's keeper
// cleans up.
func (s *Shared) Run(m *testing.M, checks ...func(context.Context, *bed.Bed) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	disarm := context.AfterFunc(ctx, func() { os.Exit(1) })
	code := m.Run()
	if s.bed != nil {
		for _, check := range checks {
			if err := check(ctx, s.bed); err != nil {
				fmt.Fprintln(os.Stderr, "--- FAIL: after all tests:", err)
				code = 1
			}
		}
	}
	disarm() // stop ends ctx, too
	stop()
	if s.bed != nil {
		if err := s.bed.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "closing the bed:", err)
			code = 1
		}
	}
	return code
}

// ShowLog shows the end of the agent's log when the test fails.
func ShowLog(t testing.TB, b *bed.Bed) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent's log (end):\n%s", Tail(b.Component("agent").Log(), logEnd))
		}
	})
}

// Tail returns at most the last n bytes of a text.
func Tail(s string, n int) string {
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return s
}

// Must ends the test when something that has to work did not.
func Must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
