//go:build e2e

package nodeapi

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestExec: exit codes, streams, arguments and errors of kubectl exec.
func TestExec(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	p := once(newPod("exec", "echo a >/tmp/name; "+obeys, "echo b >/tmp/name; "+obeys, "exit 0"))
	create(t, b, p)
	await(t, b, "exec", "half ended", func(p *corev1.Pod) bool {
		return status(p, "a").State.Running != nil && status(p, "b").State.Running != nil && status(p, "c").State.Terminated != nil
	})
	const failed = `^error: (Internal error occurred: )+error executing command in container: failed to exec in container: ` +
		`failed to start exec "[0-9a-f]{64}": OCI runtime exec failed: exec failed: unable to start container process: exec: `
	odd := []string{"", " ", "a b", "$HOME", "`id`", "'", `"`, `\`, "&", ";", "%41", "+", "?x=y", "#", "ü€😀", "line\nline", "\t", "*", "-x", "--", "="}
	cases := map[string]struct {
		args      []string
		code      int
		out, errs string // errs is a pattern
	}{
		"0":                 {[]string{"-c", "a", "--", "true"}, 0, "", `^$`},
		"7":                 {[]string{"-c", "a", "--", "sh", "-c", "exit 7"}, 7, "", `^command terminated with exit code 7\n$`},
		"137":               {[]string{"-c", "a", "--", "sh", "-c", "kill -9 $$"}, 137, "", `^command terminated with exit code 137\n$`},
		"streams":           {[]string{"-c", "a", "--", "sh", "-c", "echo out; echo err >&2; exit 3"}, 3, "out\n", `^err\ncommand terminated with exit code 3\n$`},
		"default container": {[]string{"--", "cat", "/tmp/name"}, 0, "a\n", `^Defaulted container "a" out of: a, b, c\n$`},
		"other container":   {[]string{"-c", "b", "--", "cat", "/tmp/name"}, 0, "b\n", `^$`},
		"arguments": {
			append([]string{"-c", "a", "--", "sh", "-c", `for x; do printf '%s\0' "$x"; done`, "sh"}, odd...),
			0, strings.Join(odd, "\x00") + "\x00", `^$`,
		},
		"no terminal":      {[]string{"-c", "a", "--", "sh", "-c", "test -t 0 || test -t 1 || echo none"}, 0, "none\n", `^$`},
		"unknown command":  {[]string{"-c", "a", "--", "nosuchcmd"}, 1, "", failed + `"nosuchcmd": executable file not found in \$PATH\n$`},
		"no command":       {[]string{"-c", "a", "--", "/etc"}, 1, "", failed + `"/etc": is a directory\n$`},
		"shell's unknown":  {[]string{"-c", "a", "--", "sh", "-c", "nosuchcmd"}, 127, "", `nosuchcmd: (command )?not found\ncommand terminated with exit code 127\n$`},
		"shell's no right": {[]string{"-c", "a", "--", "sh", "-c", "/tmp/name"}, 126, "", `Permission denied\ncommand terminated with exit code 126\n$`},
		"no container":     {[]string{"-c", "nope", "--", "true"}, 1, "", `^error: container nope is not valid for pod exec out of: a, b, c\n$`},
		"ended container":  {[]string{"-c", "c", "--", "true"}, 1, "", `^error: unable to upgrade connection: container not found \("c"\)\n$`},
	}
	for protocol, env := range protocols() {
		for name, c := range cases {
			t.Run(protocol+"/"+name, func(t *testing.T) {
				r := kubectlWith(t, b, env, nil, append([]string{"exec", "exec"}, c.args...)...)
				if r.code != c.code || r.out != c.out {
					t.Errorf("exit code %d, %q; want %d, %q", r.code, r.out, c.code, c.out)
				}
				matches(t, "stderr", r.errs, c.errs)
			})
		}
	}
}

// TestExecStdin: the input's end reaches the command, and the command's end does
// not wait for the input's.
func TestExecStdin(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	started(t, b, newPod("stdin", obeys))
	for protocol, env := range protocols() {
		t.Run(protocol, func(t *testing.T) {
			r := kubectlWith(t, b, env, strings.NewReader("text"), "exec", "-i", "stdin", "--", "sh", "-c", "cat; echo after; exit 5")
			if r.code != 5 || r.out != "textafter\n" {
				t.Errorf("a short input: %+v", r)
			}
			r = kubectlWith(t, b, env, strings.NewReader(""), "exec", "-i", "stdin", "--", "wc", "-c")
			if r.code != 0 || r.out != "0\n" {
				t.Errorf("no input: %+v", r)
			}
			// Without -i the command has no input, whatever kubectl has.
			r = kubectlWith(t, b, env, strings.NewReader("text"), "exec", "stdin", "--", "wc", "-c")
			if r.code != 0 || r.out != "0\n" {
				t.Errorf("an input that was not asked for: %+v", r)
			}
			idle := start(t, b, env, "exec", "-i", "stdin", "--", "sh", "-c", "echo hi; exit 6")
			if code := idle.wait(t, patience); code != 6 || idle.text() != "hi\n" {
				t.Errorf("an input that stays open: exit code %d, %q, %q", code, idle.text(), idle.errs.text())
			}
			unread := start(t, b, env, "exec", "-i", "stdin", "--", "sh", "-c", "head -c 5; exit 8")
			unread.send(t, strings.Repeat("x", 16384))
			if code := unread.wait(t, patience); code != 8 || unread.text() != "xxxxx" {
				t.Errorf("an input that nobody reads: exit code %d, %q, %q", code, unread.text(), unread.errs.text())
			}
			talk := start(t, b, env, "exec", "-i", "stdin", "--", "cat")
			for i := range 20 {
				from := talk.mark()
				talk.send(t, fmt.Sprintf("line %d\n", i))
				talk.expect(t, from, fmt.Sprintf("^line %d\n$", i), patience)
			}
			must(t, "closing the input", talk.in.Close())
			if code := talk.wait(t, patience); code != 0 {
				t.Errorf("a conversation: exit code %d, %q", code, talk.errs.text())
			}
		})
	}
}

// noise returns n bytes that are the same for the same seed.
func noise(seed byte, n int64) io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{seed}), n) }

// sumOfAll is the sum of what the reader has.
func sumOfAll(t *testing.T, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	_, err := io.Copy(h, r)
	must(t, "reading", err)
	return hex.EncodeToString(h.Sum(nil))
}

// TestExecLarge: 100 MB go in, 100 MB come out, byte by byte. It moves much and
// runs alone.
func TestExecLarge(t *testing.T) {
	b := cluster(t)
	started(t, b, newPod("exec-large", obeys))
	const size = 100e6
	want := sumOfAll(t, noise(1, size))
	for protocol, env := range protocols() {
		t.Run(protocol, func(t *testing.T) {
			began := time.Now()
			r := kubectlWith(t, b, env, noise(1, size), "exec", "-i", "exec-large", "--", "sh", "-c", "tee /tmp/big | sha256sum")
			if got, _, _ := strings.Cut(r.out, " "); r.code != 0 || got != want {
				t.Errorf("in: exit code %d, sum %q, want %s; %s", r.code, r.out, want, r.errs)
			}
			t.Logf("in: %s", time.Since(began).Round(10*time.Millisecond))
			began = time.Now()
			cmd := kubectlCommand(t, b, env, "exec", "exec-large", "--", "sh", "-c", "cat /tmp/big; exit 4")
			h := sha256.New()
			cmd.Stdout = h
			code := exitCode(t, cmd.Run())
			if got := hex.EncodeToString(h.Sum(nil)); code != 4 || got != want {
				t.Errorf("out: exit code %d, sum %s, want 4, %s", code, got, want)
			}
			t.Logf("out: %s", time.Since(began).Round(10*time.Millisecond))
		})
	}
}
