//go:build e2e

package security

import (
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestManyConnections opens thousands that ask for nothing, as nobody.
func TestManyConnections(t *testing.T) {
	f := cluster(t)
	before, err := f.measure(t.Context())
	must(t, "measuring the agent", err)
	conns := f.openMany(t, 5000, 5)
	held, err := f.measure(t.Context())
	must(t, "measuring the agent", err)
	t.Logf("with %d connections: %s; before: %s", len(conns), held, before)
	if grown := held.rssAnon - before.rssAnon; grown > 256<<10 {
		t.Errorf("the agent took %d KiB for them", grown)
	}
	f.promptly(t)
	for _, c := range conns {
		_ = c.Close()
	}
	if _, err := f.calm(t.Context(), before, time.Minute); err != nil {
		t.Error(err)
	}
}

// TestConnectionsDoNotLockOut: whoever can reach the port can open connections,
// and must not be able to take the port away with them.
func TestConnectionsDoNotLockOut(t *testing.T) {
	f := cluster(t)
	before, err := f.measure(t.Context())
	must(t, "measuring the agent", err)
	conns := f.openMany(t, 9000, 0)
	f.promptly(t)
	for _, c := range conns {
		_ = c.Close()
	}
	if _, err := f.calm(t.Context(), before, time.Minute); err != nil {
		t.Error(err)
	}
}

// openMany opens connections; one of each so many says hello, 0 means none.
func (f *fixture) openMany(t *testing.T, many, hello int) []net.Conn {
	t.Helper()
	var limit syscall.Rlimit
	must(t, "asking for the limit of open files", syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if limit.Cur < uint64(many+500) {
		t.Skipf("%d connections need more than the %d files that may be open here", many, limit.Cur)
	}
	conns := make([]net.Conn, many)
	t.Cleanup(func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	})
	var group errgroup.Group
	group.SetLimit(16)
	for i := range conns {
		group.Go(func() error {
			if hello > 0 && i%hello == 0 {
				conns[i] = dial(t, f.addr, nil)
				return nil
			}
			c, err := net.DialTimeout("tcp", f.addr, patience)
			if err == nil {
				conns[i] = c
			}
			return err
		})
	}
	must(t, "connecting", group.Wait())
	return conns
}

// promptly asks as the administrator, who has not got all day.
func (f *fixture) promptly(t *testing.T) {
	t.Helper()
	var worst time.Duration
	for range 5 {
		start := time.Now()
		if got := f.ask(t, f.admin, http.MethodGet, "/pods"); got.code != http.StatusOK {
			t.Fatalf("the administrator got %s", got)
		}
		worst = max(worst, time.Since(start))
	}
	t.Logf("the administrator waited %s at most", worst.Round(time.Millisecond))
	if worst > 5*time.Second {
		t.Errorf("the administrator waited %s for an answer", worst.Round(time.Millisecond))
	}
}
