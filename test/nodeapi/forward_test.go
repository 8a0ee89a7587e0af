//go:build e2e

package nodeapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/build"
)

// Ports of talker, the server in the pods that are forwarded to.
const (
	echoPort   = 7001 // answers with what it gets
	sumPort    = 7002 // answers with the sum of the first 100,000 bytes
	helloPort  = 7003 // says hello and hangs up
	closedPort = 7004
)

// listener makes a pod that listens, and waits until it does.
func listener(t *testing.T, b *bed.Bed, name string) {
	t.Helper()
	builder, err := build.New(nil)
	must(t, "preparing to build talker", err)
	program, err := builder.Program(t.Context(), "./test/nodeapi/talker", "talker", "-s -w")
	must(t, "building talker", err)
	p := newPod(name, "exec /talker")
	p.Spec.Volumes = []corev1.Volume{{Name: "talker", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: program}}}}
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "talker", MountPath: "/talker", ReadOnly: true}}
	started(t, b, p)
	// The ports are open when /proc says so: 7001 to 7003 are 1B59 to 1B5B.
	ok(t, b, "exec", name, "--", "sh", "-c", `until [ "$(grep -c ':1B5[9AB] [0:]* 0A' /proc/net/tcp6)" = 3 ]; do sleep 0.1; done`)
}

// forwarder is a kubectl port-forward, and where its ports are.
type forwarder struct {
	*process
	local map[int]string
}

// forward forwards free ports of this machine to ports of a pod.
func forward(t *testing.T, b *bed.Bed, env []string, pod string, ports ...int) *forwarder {
	t.Helper()
	args := []string{"port-forward", "--address=127.0.0.1", "pod/" + pod}
	for _, p := range ports {
		args = append(args, fmt.Sprintf(":%d", p))
	}
	f := &forwarder{process: start(t, b, env, args...), local: map[int]string{}}
	for _, p := range ports {
		f.local[p] = f.expect(t, 0, fmt.Sprintf(`Forwarding from (127\.0\.0\.1:\d+) -> %d\n`, p), patience)[1]
	}
	return f
}

// dial connects to a forwarded port.
func (f *forwarder) dial(port int) (*net.TCPConn, error) {
	conn, err := (&net.Dialer{Timeout: patience}).Dial("tcp", f.local[port])
	if err != nil {
		return nil, fmt.Errorf("connect to forwarded port %d: %w", port, err)
	}
	if err := conn.SetDeadline(time.Now().Add(4 * time.Minute)); err != nil {
		return nil, fmt.Errorf("set a deadline: %w", err)
	}
	return conn.(*net.TCPConn), nil
}

// echo sends bytes through the echo port and checks that the same come back.
func (f *forwarder) echo(seed byte, size int64) error {
	conn, err := f.dial(echoPort)
	if err != nil {
		return err
	}
	defer conn.Close()
	var g errgroup.Group
	g.Go(func() error {
		_, err := io.Copy(conn, noise(seed, size))
		return err
	})
	want, got, at := make([]byte, 64<<10), make([]byte, 64<<10), int64(0)
	for r := noise(seed, size); at < size; {
		n, err := conn.Read(got)
		if err != nil {
			return errors.Join(fmt.Errorf("read after %d bytes: %w", at, err), conn.Close(), g.Wait())
		}
		if _, err := io.ReadFull(r, want[:n]); err != nil {
			return fmt.Errorf("more came back than was sent: %w", err)
		}
		if string(want[:n]) != string(got[:n]) {
			return fmt.Errorf("something else came back after byte %d", at)
		}
		at += int64(n)
	}
	return g.Wait()
}

// answer sends bytes, ends the sending side, and returns all that comes back.
func (f *forwarder) answer(port int, content io.Reader) (string, error) {
	conn, err := f.dial(port)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if content != nil {
		if _, err := io.Copy(conn, content); err != nil {
			return "", fmt.Errorf("send: %w", err)
		}
		if err := conn.CloseWrite(); err != nil {
			return "", fmt.Errorf("end the sending side: %w", err)
		}
	}
	got, err := io.ReadAll(conn)
	return string(got), err
}

// answers checks what comes back.
func (f *forwarder) answers(port int, content io.Reader, want string) error {
	got, err := f.answer(port, content)
	if got != want {
		return errors.Join(fmt.Errorf("port %d answers %q, want %q", port, got, want), err)
	}
	return err
}

// TestForward: two ports at once, small conversations, and sides that end
// before each other.
func TestForward(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	listener(t, b, "forward")
	for protocol, env := range protocols() {
		t.Run(protocol, func(t *testing.T) {
			f := forward(t, b, env, "forward", echoPort, sumPort, helloPort)
			var g errgroup.Group
			for i := range 10 {
				g.Go(func() error { return f.echo(byte(i), 1000) })
				// containerd does not hand on the end of the client's side, so the
				// server knows by itself when to answer. The answer still arrives.
				sum := sumOfAll(t, noise(byte(i), 100000))
				g.Go(func() error { return f.answers(sumPort, noise(byte(i), 100000), sum) })
				g.Go(func() error { return f.answers(helloPort, nil, "hello") })
			}
			if err := g.Wait(); err != nil {
				t.Error(err)
			}
			if f.errs.text() != "" {
				t.Errorf("kubectl complains: %s", f.errs.text())
			}
		})
	}
}

// TestForwardLarge: 100 connections carry 10 MB each way at once. It moves much
// and runs alone.
func TestForwardLarge(t *testing.T) {
	b := cluster(t)
	const size = 10e6
	listener(t, b, "forward-large")
	for protocol, env := range protocols() {
		t.Run(protocol, func(t *testing.T) {
			f := forward(t, b, env, "forward-large", echoPort)
			began := time.Now()
			g, ctx := errgroup.WithContext(t.Context())
			for i := range 100 {
				g.Go(func() error {
					if ctx.Err() != nil {
						return nil
					}
					if err := f.echo(byte(i), size); err != nil {
						return fmt.Errorf("connection %d after %s: %w", i, time.Since(began).Round(time.Second), err)
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				t.Errorf("%v; kubectl says %q", err, tail(f.errs.text(), 1000))
			}
			t.Logf("100 times 10 MB each way in %s", time.Since(began).Round(10*time.Millisecond))
		})
	}
}

// TestForwardRefused: a port nobody listens on is reported; kubectl gives up,
// the next one works.
func TestForwardRefused(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	listener(t, b, "closed")
	for protocol, env := range protocols() {
		t.Run(protocol, func(t *testing.T) {
			f := forward(t, b, env, "closed", closedPort, echoPort)
			if err := f.echo(1, 1000); err != nil {
				t.Error(err)
			}
			if got, err := f.answer(closedPort, nil); got != "" {
				t.Errorf("nobody listens, but says %q, %v", got, err)
			}
			if code := f.wait(t, patience); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			matches(t, "stderr", f.errs.text(), fmt.Sprintf(`(?s)An error occurred forwarding.*error forwarding port %d to pod [0-9a-f]{64}, uid : `+
				`failed to execute portforward in network namespace .*failed to connect to localhost:%[1]d inside namespace .*`+
				`connection refused.*error: lost connection to pod\n$`, closedPort))
			if err := forward(t, b, env, "closed", echoPort).echo(2, 1000); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestForwardDeleted: the connections through a forwarded port end with the pod.
func TestForwardDeleted(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	for protocol, env := range protocols() {
		t.Run(protocol, func(t *testing.T) {
			name := "forward-deleted-" + protocol
			listener(t, b, name)
			f := forward(t, b, env, name, echoPort)
			conn, err := f.dial(echoPort)
			must(t, "connecting", err)
			defer conn.Close()
			_, err = io.WriteString(conn, "x")
			must(t, "sending", err)
			_, err = io.ReadFull(conn, make([]byte, 1))
			must(t, "receiving", err)
			now := int64(0)
			must(t, "deleting the pod", b.Client().CoreV1().Pods(namespace).Delete(context.WithoutCancel(t.Context()), name,
				metav1.DeleteOptions{GracePeriodSeconds: &now}))
			must(t, "setting a deadline", conn.SetDeadline(time.Now().Add(patience)))
			rest, err := io.ReadAll(conn)
			var timeout net.Error
			if len(rest) != 0 || errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("after the pod was deleted: %q, %v; want the connection's end", rest, err)
			}
			// What is tried now fails, and kubectl says so and ends.
			if got, err := f.answer(echoPort, strings.NewReader("x")); got != "" {
				t.Errorf("the pod is gone, but answers %q, %v", got, err)
			}
			if code := f.wait(t, patience); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			matches(t, "stderr", f.errs.text(), `error: lost connection to pod\n$`)
			r := kubectlWith(t, b, env, nil, "port-forward", "pod/"+name, ":1")
			matches(t, "stderr", r.errs, `pods "`+name+`" not found`)
		})
	}
}
