//go:build e2e

package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	exitContainers = 5 // of each pod
	// exitPhase bounds the random pause before an exit: an agent that looks once a
	// second must not be met at the same moment each time.
	exitPhase = time.Second
)

// ending is a container that ends when it is told to.
type ending struct {
	pod, container string
	always         bool
	dir            string
	fifo           *os.File
}

// script waits for a line in the FIFO, writes down when it ends, and ends. The
// shell is bash, whose EPOCHREALTIME has microseconds.
func (e *ending) script(code int) string {
	return fmt.Sprintf("read -r go < /x/%[1]s.go; echo $EPOCHREALTIME > /x/%[1]s.at; exit %[2]d", e.name(), code)
}

func (e *ending) name() string { return e.pod + "-" + e.container }

func (e *ending) path(suffix string) string { return filepath.Join(e.dir, e.name()+suffix) }

// tell makes the container end; at returns when it did.
func (e *ending) tell() error {
	if _, err := e.fifo.WriteString("\n"); err != nil {
		return fmt.Errorf("tell container %s to end: %w", e.name(), err)
	}
	return nil
}

func (e *ending) at() (time.Time, error) {
	text, err := os.ReadFile(e.path(".at"))
	if err != nil {
		return time.Time{}, fmt.Errorf("read when container %s ended: %w", e.name(), err)
	}
	micros, err := strconv.ParseInt(strings.Replace(strings.TrimSpace(string(text)), ".", "", 1), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read when container %s ended: %w", e.name(), err)
	}
	return time.UnixMicro(micros), nil
}

func (e *ending) status(p *corev1.Pod) corev1.ContainerStatus {
	for _, s := range p.Status.ContainerStatuses {
		if s.Name == e.container {
			return s
		}
	}
	return corev1.ContainerStatus{}
}

// ended is what the API shows of a container that ended, restarted or not.
func (e *ending) ended(p *corev1.Pod) bool {
	s := e.status(p)
	return s.State.Terminated != nil || s.LastTerminationState.Terminated != nil || s.RestartCount > 0
}

func (e *ending) again(p *corev1.Pod) bool {
	s := e.status(p)
	return s.State.Running != nil && s.RestartCount == 1
}

// exitTimes are what was measured of exits: from the end of the process until the
// API shows it, until the container runs again, until the runtime tells; and from
// there until the API shows it, which is the agent's part.
type exitTimes struct{ shown, again, told, own []time.Duration }

// exits measures exits of containers that are restarted and of others, n in all.
// The first two of each do not count.
func exits(t *testing.T, b *bed.Bed, board *board, n int) exitTimes {
	t.Helper()
	const warm = 2
	runtime := watchRuntime(t, b)
	endings := prepareExits(t, b, n/2+warm)
	random := rand.New(rand.NewPCG(1, 2))
	seen := map[bool]int{}
	var all exitTimes
	for _, e := range endings {
		must(t, "container exits", board.await(t.Context(), e.pod, "running", func(p *corev1.Pod) bool { return e.status(p).State.Running != nil }))
		pause(t.Context(), time.Duration(random.Int64N(int64(exitPhase))))
		at, shown, again, err := e.measure(t.Context(), board)
		must(t, "container exits", err)
		if seen[e.always]++; seen[e.always] <= warm {
			continue
		}
		all.shown = append(all.shown, shown.Sub(at))
		if e.always {
			all.again = append(all.again, again.Sub(at))
		}
		if told, ok := runtime.of(e.name()); ok {
			all.told, all.own = append(all.told, told.Sub(at)), append(all.own, shown.Sub(told))
		}
	}
	return all
}

// measure ends a container and waits until the API shows it, and that it runs
// again when it has to.
func (e *ending) measure(ctx context.Context, board *board) (at, shown, again time.Time, err error) {
	ended, runs := board.expect(e.pod, e.ended), board.expect(e.pod, e.again)
	if err := e.tell(); err != nil {
		return at, shown, again, err
	}
	if shown, err = receive(ctx, ended); err != nil {
		return at, shown, again, fmt.Errorf("the end of container %s is not seen: %w", e.name(), err)
	}
	if e.always {
		if again, err = receive(ctx, runs); err != nil {
			return at, shown, again, fmt.Errorf("container %s is not restarted: %w", e.name(), err)
		}
	}
	at, err = e.at()
	return at, shown, again, err
}

// prepareExits makes n containers that are restarted and n that are not, in pods
// that take turns, and waits until all run.
func prepareExits(t *testing.T, b *bed.Bed, n int) []*ending {
	t.Helper()
	dir := hostDir(t, b, "exits")
	var all [2][]*ending
	for i, policy := range []corev1.RestartPolicy{corev1.RestartPolicyNever, corev1.RestartPolicyAlways} {
		for len(all[i]) < n {
			p := bedtest.NewPod(fmt.Sprintf("exit-%s-%d", strings.ToLower(string(policy)), len(all[i])), 1)
			p.Spec.RestartPolicy = policy
			for j := range min(exitContainers, n-len(all[i])) {
				e := &ending{pod: p.Name, container: string(rune('a' + j)), always: i == 1, dir: dir}
				e.open(t)
				p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
					Name: e.container, Image: bedtest.Image, Command: []string{"sh", "-c", e.script(3 * (j % 2))}})
				all[i] = append(all[i], e)
			}
			mountHost(p, dir, "/x")
			must(t, "container exits", create(t.Context(), b, p))
		}
	}
	var mixed []*ending
	for j := range n {
		mixed = append(mixed, all[0][j], all[1][j])
	}
	return mixed
}

// open makes the FIFO. Open for both ways it waits for nobody, and what is written
// stays until it is read.
func (e *ending) open(t *testing.T) {
	t.Helper()
	must(t, "making a FIFO", syscall.Mkfifo(e.path(".go"), 0o600))
	f, err := os.OpenFile(e.path(".go"), os.O_RDWR, 0)
	must(t, "opening a FIFO", err)
	t.Cleanup(func() { _ = f.Close() })
	e.fifo = f
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
