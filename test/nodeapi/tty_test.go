//go:build e2e

package nodeapi

import (
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"nodeagent.dev/nodeagent/test/bed"
)

// terminal is a kubectl that has a terminal.
type terminal struct {
	*process
	master *os.File
}

// startTerminal runs kubectl on a terminal of 24 lines and 80 columns.
func startTerminal(t *testing.T, b *bed.Bed, env []string, args ...string) *terminal {
	t.Helper()
	p := &process{transcript: newTranscript(), errs: newTranscript(), cmd: kubectlCommand(t, b, env, args...), ended: make(chan struct{})}
	master, err := pty.StartWithSize(p.cmd, &pty.Winsize{Rows: 24, Cols: 80})
	must(t, "starting kubectl on a terminal", err)
	p.in = master
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(p.transcript, master) // ends with EIO when kubectl has
	}()
	go func() {
		p.err = p.cmd.Wait()
		<-copied
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
		<-p.ended
		_ = master.Close()
	})
	return &terminal{process: p, master: master}
}

// run types a command and waits for its output.
func (s *terminal) run(t *testing.T, command, pattern string) []string {
	t.Helper()
	from := s.mark()
	s.send(t, command+"\n")
	return s.expect(t, from, pattern, patience)
}

// awaitSize asks the terminal in the container for its size until it is that: it
// learns of a change some time after it, and before the first size it has none,
// which busybox takes for an error of its standard input.
func (s *terminal) awaitSize(t *testing.T, want string) {
	t.Helper()
	for range 200 {
		if m := s.run(t, "stty size; sleep 0.1; echo size''-end", `(?s)(\d+ \d+|stty: standard input)\r\nsize-end\r\n`); m[1] == want {
			return
		}
	}
	t.Fatalf("the terminal in the container is never %s: %q", want, tail(s.text(), 1000))
}

// converse uses a shell on a terminal as people do.
func converse(t *testing.T, s *terminal) {
	t.Helper()
	// What is typed is shown, too: the quotes tell it from the output.
	s.run(t, "echo out''put; test -t 0 && test -t 1 && test -t 2 && echo is''tty", `echo out''put.*\r\noutput\r\nistty\r\n`)
	s.awaitSize(t, "24 80")
	must(t, "changing the size", pty.Setsize(s.master, &pty.Winsize{Rows: 40, Cols: 132}))
	s.awaitSize(t, "40 132")
	must(t, "changing the size again", pty.Setsize(s.master, &pty.Winsize{Rows: 10, Cols: 50}))
	s.awaitSize(t, "10 50")
	// Whoever says begin gets the signal.
	s.run(t, `sh -c 'echo beg""in; exec sleep 1000'`, `\r\nbegin\r\n`)
	from := s.mark()
	s.send(t, "\x03")
	s.expect(t, from, `\^C`, patience)
	s.run(t, "echo rc''=$?", `rc=130\r\n`)
}

// TestExecTerminal: a shell on a terminal: its size and changes of it, echo,
// Ctrl-C, and the exit code.
func TestExecTerminal(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	started(t, b, newPod("terminal", obeys))
	for protocol, env := range protocols() {
		t.Run(protocol, func(t *testing.T) {
			s := startTerminal(t, b, env, "exec", "-it", "terminal", "--", "sh")
			converse(t, s)
			s.send(t, "exit 9\n")
			if code := s.wait(t, patience); code != 9 {
				t.Errorf("exit code %d, want 9: %q", code, tail(s.text(), 500))
			}
		})
	}
}
