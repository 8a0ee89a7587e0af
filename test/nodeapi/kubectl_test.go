//go:build e2e

package nodeapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
)

// noWebsockets are the variables that keep kubectl from using WebSockets.
func noWebsockets() []string {
	return []string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false", "KUBECTL_PORT_FORWARD_WEBSOCKETS=false"}
}

// protocols are the ways of kubectl to stream, by name.
func protocols() map[string][]string {
	return map[string][]string{"websocket": nil, "spdy": noWebsockets()}
}

// result is what a call of kubectl came to.
type result struct {
	out, errs string
	code      int
}

// kubectlCommand prepares a call; it is ended after a time no call needs.
func kubectlCommand(t *testing.T, b *bed.Bed, env []string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, filepath.Join(b.BinDir, "kubectl"), append([]string{"--kubeconfig", b.Kubeconfig}, args...)...)
	// The folder is that of the bed's other calls: they share what is cached.
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=" + filepath.Join(b.Dir, "tmp"), "LC_ALL=C.UTF-8", "TERM=xterm"}, env...)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// kubectl runs kubectl to its end.
func kubectl(t *testing.T, b *bed.Bed, args ...string) result {
	t.Helper()
	return kubectlWith(t, b, nil, nil, args...)
}

// kubectlWith runs kubectl with more variables and an input.
func kubectlWith(t *testing.T, b *bed.Bed, env []string, in io.Reader, args ...string) result {
	t.Helper()
	cmd := kubectlCommand(t, b, env, args...)
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &errs
	err := cmd.Run()
	return result{out.String(), errs.String(), exitCode(t, err)}
}

// ok is kubectl for calls that have to succeed; it returns their output.
func ok(t *testing.T, b *bed.Bed, args ...string) string {
	t.Helper()
	r := kubectl(t, b, args...)
	if r.code != 0 {
		t.Fatalf("kubectl %s: exit code %d: %s", strings.Join(args, " "), r.code, r.errs)
	}
	return r.out
}

// exitCode is that of a process that was started.
func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err == nil {
		return 0
	}
	if !errors.As(err, &exit) {
		t.Fatalf("running kubectl: %v", err)
	}
	return exit.ExitCode()
}

// process is a kubectl that runs beside the test.
type process struct {
	*transcript // what it wrote to stdout
	errs        *transcript
	cmd         *exec.Cmd
	in          io.WriteCloser
	ended       chan struct{}
	err         error // after ended
}

// start runs kubectl beside the test, with an input that stays open. It ends
// with the test.
func start(t *testing.T, b *bed.Bed, env []string, args ...string) *process {
	t.Helper()
	p := &process{transcript: newTranscript(), errs: newTranscript(), cmd: kubectlCommand(t, b, env, args...), ended: make(chan struct{})}
	// Pipes of our own: Wait must not wait for an input nobody ends.
	r, w, err := os.Pipe()
	must(t, "making a pipe", err)
	p.in, p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = w, r, p.transcript, p.errs
	must(t, "starting kubectl", p.cmd.Start())
	_ = r.Close()
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = w.Close()
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
		<-p.ended
	})
	return p
}

// wait returns the exit code.
func (p *process) wait(t *testing.T, limit time.Duration) int {
	t.Helper()
	select {
	case <-p.ended:
		return exitCode(t, p.err)
	case <-time.After(limit):
		t.Fatalf("kubectl %s has not ended after %s; it wrote %q and %q",
			strings.Join(p.cmd.Args[3:], " "), limit, tail(p.text(), 500), tail(p.errs.text(), 500))
		return -1
	}
}

// send writes to the input.
func (p *process) send(t *testing.T, text string) {
	t.Helper()
	_, err := io.WriteString(p.in, text)
	must(t, "writing to kubectl", err)
}

// transcript takes what is written and lets others wait for it.
type transcript struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	grown chan struct{} // closed and made anew at every write
}

func newTranscript() *transcript { return &transcript{grown: make(chan struct{})} }

func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.grown)
	s.grown = make(chan struct{})
	return s.buf.Write(p)
}

func (s *transcript) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// mark is the place that the next write goes to.
func (s *transcript) mark() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Len()
}

// expect waits until what was written after the mark matches the pattern, and
// returns the groups of the match.
func (s *transcript) expect(t *testing.T, from int, pattern string, limit time.Duration) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(limit)
	for {
		s.mu.Lock()
		text, grown := s.buf.String()[from:], s.grown
		s.mu.Unlock()
		if m := re.FindStringSubmatch(text); m != nil {
			return slices.Clone(m)
		}
		select {
		case <-grown:
		case <-timeout:
			t.Fatalf("%q is not there after %s; what is there: %q", pattern, limit, tail(text, 1000))
		}
	}
}
