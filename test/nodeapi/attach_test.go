//go:build e2e

package nodeapi

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestAttachStdin: attach -i gives a container its input, shows its output, and
// ends with it. With stdinOnce the input's end is the container's, too.
func TestAttachStdin(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	for protocol, env := range protocols() {
		t.Run(protocol, func(t *testing.T) {
			p := once(newPod("attach-"+protocol, "while read x; do echo got $x; echo err $x >&2; done; echo bye; exit 4"))
			p.Spec.Containers[0].Stdin, p.Spec.Containers[0].StdinOnce = true, true
			started(t, b, p)
			a := start(t, b, env, "attach", "-i", p.Name)
			for _, line := range []string{"one", "two", "three"} {
				from, errs := a.mark(), a.errs.mark()
				a.send(t, line+"\n")
				a.expect(t, from, "^got "+line+"\n$", patience)
				a.errs.expect(t, errs, "err "+line+"\n$", patience)
			}
			must(t, "closing the input", a.in.Close())
			a.wait(t, patience)
			same(t, "output", a.text(), "got one\ngot two\ngot three\nbye\n")
			ended := await(t, b, p.Name, "ended", finished)
			if code := status(ended, "a").State.Terminated.ExitCode; code != 4 {
				t.Errorf("the container ended with %d, want 4", code)
			}
		})
	}
}

// TestAttachTwice: a container with stdin, but not stdinOnce, outlives who
// attaches to it, and takes the next one.
func TestAttachTwice(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	p := newPod("attach-twice", "while read x; do echo got $x; done; echo bye")
	p.Spec.Containers[0].Stdin = true
	started(t, b, p)
	for _, line := range []string{"one", "two"} {
		a := start(t, b, nil, "attach", "-i", p.Name)
		a.send(t, line+"\n")
		a.expect(t, 0, "got "+line+"\n", patience)
		must(t, "ending kubectl", a.cmd.Process.Kill())
		<-a.ended
	}
	f := start(t, b, nil, "logs", "-f", p.Name)
	f.expect(t, 0, "^got one\ngot two\n$", patience)
}

// TestAttachTerminal: attach -it to a shell on a terminal.
func TestAttachTerminal(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	for protocol, env := range protocols() {
		t.Run(protocol, func(t *testing.T) {
			p := once(newPod("attach-tty-" + protocol))
			p.Spec.Containers = []corev1.Container{{Name: "a", Image: image, Command: []string{"sh"}, Stdin: true, TTY: true}}
			started(t, b, p)
			s := startTerminal(t, b, env, "attach", "-it", p.Name)
			converse(t, s)
			s.send(t, "exit 9\n")
			s.wait(t, patience)
			ended := await(t, b, p.Name, "ended", finished)
			if code := status(ended, "a").State.Terminated.ExitCode; code != 9 {
				t.Errorf("the container ended with %d, want 9", code)
			}
		})
	}
}

// TestAttachOutput: attach without an input shows what is written from now on
// and ends with the container; a container that has ended cannot be attached to.
func TestAttachOutput(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	started(t, b, once(newPod("attach-out", "echo begin; while [ ! -e /tmp/go ]; do echo tick; sleep 0.2; done; echo end; echo bad >&2; exit 5", obeys)))
	a := start(t, b, nil, "attach", "attach-out", "-c", "a")
	a.expect(t, 0, `(?s)tick\n.*tick\n`, patience)
	ok(t, b, "exec", "attach-out", "-c", "a", "--", "touch", "/tmp/go")
	a.wait(t, patience)
	matches(t, "output", a.text(), `^(tick\n)+end\n$`)
	if !strings.Contains(a.errs.text(), "bad\n") {
		t.Errorf("stderr is %q, want the container's in it", a.errs.text())
	}
	await(t, b, "attach-out", "half ended", func(p *corev1.Pod) bool { return status(p, "a").State.Terminated != nil })
	r := kubectl(t, b, "attach", "attach-out", "-c", "a")
	matches(t, "stderr", r.errs, `container a not found in pod attach-out_default`)
	if r.code != 1 {
		t.Errorf("attach to an ended container: exit code %d, want 1", r.code)
	}
}
