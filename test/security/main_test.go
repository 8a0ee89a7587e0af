//go:build e2e

package security

import (
	"context"
	"flag"
	"os"
	"sync"
	"testing"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// shared is the bed that most tests use, with its users.
var shared struct {
	bedtest.Shared
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
	os.Exit(shared.Run(m,
		func(context.Context, *bed.Bed) error { return shared.fix.secretsInLog() },
		func(ctx context.Context, _ *bed.Bed) error { return shared.fix.leaks(ctx) }))
}

// cluster returns the shared bed with its users.
func cluster(t *testing.T) *fixture {
	t.Helper()
	b := shared.Bed(t)
	shared.once.Do(func() {
		shared.fix = &fixture{bed: b}
		shared.err = shared.fix.prepare(context.Background())
	})
	must(t, "preparing the bed's users", shared.err)
	return shared.fix
}

// What tests on beds have in common, under short names.
var (
	must    = bedtest.Must
	showLog = bedtest.ShowLog
)

// nodeagent tells whether the agent is nodeagent, for what it does better on
// purpose; the kubelet's own behaviour is asserted in the other branch.
func (f *fixture) nodeagent() bool { return f.bed.Agent() == bed.Nodeagent }
