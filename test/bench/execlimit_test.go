//go:build e2e

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// execLimitFor is how long the machine's limit is measured.
const execLimitFor = 8 * time.Second

// capacity is what the machine can do without any agent.
type capacity struct {
	perSecond float64
	each      time.Duration // processor time of one exec
}

func (c capacity) String() string {
	return fmt.Sprintf("%d cores, at most %.1f exec/s by direct CRI calls, %s ms of processor time each",
		runtime.NumCPU(), c.perSecond, millis(c.each))
}

// execCapacity asks the runtime itself for as many execs as it can do, in one
// container, with the command that the probes use.
func execCapacity(t *testing.T, b *bed.Bed, board *board, dir string) capacity {
	t.Helper()
	p := bedtest.NewPod("capacity", 1, bedtest.Obeys)
	mountHost(p, dir, "/x")
	must(t, "measuring execs", create(t.Context(), b, p))
	must(t, "measuring execs", board.await(t.Context(), p.Name, "ready", bedtest.Ready))
	text, err := b.Crictl(t.Context(), "ps", "--label", "io.kubernetes.pod.name="+p.Name, "-o", "json")
	must(t, "finding a container", err)
	var list struct{ Containers []struct{ ID string } }
	must(t, "reading crictl's answer", json.Unmarshal([]byte(text), &list))
	if len(list.Containers) != 1 {
		t.Fatalf("finding a container: %s", text)
	}
	conn, err := b.Runtime()
	must(t, "connecting to the runtime", err)
	defer conn.Close()
	client := runtimeapi.NewRuntimeServiceClient(conn)
	request := &runtimeapi.ExecSyncRequest{ContainerId: list.Containers[0].ID, Cmd: countCommand("capacity"), Timeout: serverSlow}

	before, err := measure(t.Context(), b)
	must(t, "measuring execs", err)
	var done atomic.Int64
	began := time.Now()
	group, ctx := errgroup.WithContext(t.Context())
	for range 2 * runtime.NumCPU() {
		group.Go(func() error { return execFor(ctx, client, request, began.Add(execLimitFor), &done) })
	}
	must(t, "measuring execs", group.Wait())
	took := time.Since(began)
	after, err := measure(t.Context(), b)
	must(t, "measuring execs", err)
	n := done.Load()
	return capacity{float64(n) / took.Seconds(), (after.all - before.all) / time.Duration(n)}
}

func execFor(ctx context.Context, client runtimeapi.RuntimeServiceClient, request *runtimeapi.ExecSyncRequest, end time.Time, done *atomic.Int64) error {
	for time.Now().Before(end) {
		got, err := client.ExecSync(ctx, request)
		if err != nil {
			return fmt.Errorf("exec: %w", err)
		}
		if got.GetExitCode() != 0 {
			return fmt.Errorf("exec: exit code %d: %s", got.GetExitCode(), got.GetStderr())
		}
		done.Add(1)
	}
	return nil
}

// countCommand adds a byte to a file: what has the fewest instructions of all
// that leave a trace.
func countCommand(file string) []string {
	return []string{"busybox", "ash", "-c", "echo >>/x/" + file}
}
