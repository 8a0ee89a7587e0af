//go:build e2e

package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/build"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// flooder is a pod that floods, with arguments for each of its containers.
func flooder(t *testing.T, name string, args ...string) *corev1.Pod {
	t.Helper()
	builder, err := build.New(nil)
	must(t, "preparing to build flood", err)
	program, err := builder.Program(t.Context(), "./test/logs/flood", "flood", "-s -w")
	must(t, "building flood", err)
	commands := make([]string, len(args))
	for i, a := range args {
		commands[i] = "exec /flood " + a
	}
	p := bedtest.NewPod(name, 0, commands...)
	p.Spec.Volumes = []corev1.Volume{{Name: "flood", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: program}}}}
	for i := range p.Spec.Containers {
		p.Spec.Containers[i].VolumeMounts = []corev1.VolumeMount{{Name: "flood", MountPath: "/flood", ReadOnly: true}}
	}
	return p
}

// follower checks what kubectl logs -f shows.
type follower struct {
	lines atomic.Int64
	end   string // the last line, which says how many there were
	err   error
	begun chan struct{} // closed with the first line
	done  chan struct{}
}

// follow follows the log of a container of a flooder from its first line, to the
// last one.
func follow(t *testing.T, b *bed.Bed, pod, container string) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{begun: make(chan struct{}), done: make(chan struct{})}
	cmd := command(ctx, b, "logs", "-f", pod, "-c", container)
	out, err := cmd.StdoutPipe()
	must(t, "making a pipe", err)
	var errs strings.Builder
	cmd.Stderr = &errs
	must(t, "starting kubectl", cmd.Start())
	go func() {
		defer close(f.done)
		f.err = f.check(out)
		cancel()
		_ = cmd.Wait() // it was killed
		if f.err != nil && errs.Len() > 0 {
			f.err = fmt.Errorf("%w; kubectl says %s", f.err, errs.String())
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-f.done
	})
	return f
}

// check reads numbered lines until the one that says that it is the last.
func (f *follower) check(from io.Reader) error {
	in := bufio.NewReaderSize(from, 1<<20)
	for next := int64(0); ; next++ {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("after line %d, %.300q: %w", next-1, line, err)
		}
		if strings.HasPrefix(string(line[:min(len(line), 4)]), "end ") {
			f.end = string(line)
			if !strings.HasPrefix(f.end, fmt.Sprintf("end %d ", next)) {
				return fmt.Errorf("%d lines were seen, but %s", next, f.end)
			}
			return nil
		}
		if len(line) < 11 {
			return fmt.Errorf("after line %d comes %q", next-1, line)
		}
		if n, err := strconv.ParseInt(string(line[:10]), 10, 64); err != nil || n != next {
			return errors.Join(fmt.Errorf("after line %d comes %.300q", next-1, line), err)
		}
		f.lines.Store(next)
		if next == 0 {
			close(f.begun)
		}
	}
}

// TestFollowThroughRotations: who follows a log that is rotated several times a
// second sees each line once.
func TestFollowThroughRotations(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	onlyHere(t, b, "it loses what was written between its last read and a rotation")
	bedtest.Create(t, b, flooder(t, "followed", "-wait /tmp/go -rate 500000 -line 100 -for 8s"))
	bedtest.Await(t, b.Client(), "followed", "ready", patience, bedtest.Ready)
	f := follow(t, b, "followed", "a")
	select {
	case <-f.begun:
	case <-time.After(patience):
		t.Fatal("the first line is not shown")
	}
	kubectl(t, b, "exec", "followed", "--", "touch", "/tmp/go")
	select {
	case <-f.done:
		must(t, "following", f.err)
	case <-time.After(patience):
		t.Fatalf("no end after %d lines", f.lines.Load())
	}
	t.Log(f.end)
}
