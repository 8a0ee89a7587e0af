//go:build e2e

package security

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"

	"nodeagent.dev/nodeagent/test/bed"
)

// shared is the bed that most tests use.
var shared struct {
	once sync.Once
	fix  *fixture
	err  error
}

// secrets are what must never be in the agent's log.
var secrets struct {
	mu  sync.Mutex
	all []string
}

func keepSecret(s string) string {
	secrets.mu.Lock()
	defer secrets.mu.Unlock()
	secrets.all = append(secrets.all, s)
	return s
}

func TestMain(m *testing.M) {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	disarm := context.AfterFunc(ctx, func() { os.Exit(1) }) // the bed's keeper cleans up
	code := m.Run()
	if f := shared.fix; f != nil {
		if err := errors.Join(f.secretsInLog(), f.leaks(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, "--- FAIL: after all tests:", err)
			code = 1
		}
	}
	disarm() // stop ends ctx, too
	stop()
	if f := shared.fix; f != nil {
		if err := f.bed.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "closing the bed:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// cluster returns the shared bed with its users; on failure of the test the
// agent's log is shown.
func cluster(t *testing.T) *fixture {
	t.Helper()
	shared.once.Do(func() {
		var b *bed.Bed
		if b, shared.err = bed.New(context.Background(), bed.Options{Output: os.Stderr}); shared.err != nil {
			return
		}
		shared.fix = &fixture{bed: b}
		shared.err = shared.fix.prepare(context.Background())
	})
	if shared.err != nil {
		t.Fatalf("no bed: %v", shared.err)
	}
	showLog(t, shared.fix.bed)
	return shared.fix
}

// showLog shows the end of the agent's log when the test fails.
func showLog(t *testing.T, b *bed.Bed) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			log := b.Component("agent").Log()
			t.Logf("the agent's log (end):\n%s", log[max(0, len(log)-6000):])
		}
	})
}

// nodeagent tells whether the agent is nodeagent, for what it does better on
// purpose; the kubelet's own behaviour is asserted in the other branch.
func (f *fixture) nodeagent() bool { return f.bed.Agent() == bed.Nodeagent }

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
