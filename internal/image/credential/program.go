package credential

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// programTimeout is how long a provider may take: the kubelet's.
	programTimeout = time.Minute
	// pipeGrace is how long what a provider left behind may hold its output
	// open, and how long a killed provider may take to end.
	pipeGrace = 5 * time.Second
	// maxReply bounds what a provider may answer, in bytes.
	maxReply = 1 << 20
)

// program is the executable of a provider.
type program struct {
	path           string
	args, env      []string // env is added to the environment of the agent
	timeout, grace time.Duration
}

// pipes are the three streams of a process, on our side.
type pipes struct {
	stdin          io.WriteCloser
	stdout, stderr io.ReadCloser
}

// output is what a process wrote to its standard output.
type output struct {
	data []byte
	err  error
}

// run starts the program, gives it a request and returns what it writes to its
// standard output. The program has a process group of its own, and nothing of
// the group outlives the call. What it writes to its standard error is counted:
// nobody knows what a provider writes there.
func (p program) run(ctx context.Context, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("it took longer than %v and was killed: %w", p.timeout, context.DeadlineExceeded))
	defer cancel()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	streams, err := openPipes(cmd)
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}

	exited := make(chan struct{})
	out := make(chan output, 1)
	var complaints int64
	var readers sync.WaitGroup
	go func() {
		defer close(exited)
		awaitExit(cmd.Process.Pid)
	}()
	readers.Go(func() {
		// A program that does not read is none of our trouble.
		_, _ = streams.stdin.Write(request)
		_ = streams.stdin.Close()
	})
	readers.Go(func() {
		data, err := io.ReadAll(io.LimitReader(streams.stdout, maxReply+1))
		out <- output{data: data, err: err}
	})
	readers.Go(func() { complaints, _ = io.Copy(io.Discard, streams.stderr) })

	data, failed := p.follow(ctx, exited, out)
	ended := p.end(cmd, streams, exited)
	readers.Wait()
	if failed == nil {
		failed = ended
	}
	if failed != nil && complaints > 0 {
		return nil, fmt.Errorf("%w (it wrote %d bytes to its standard error, which are not shown because they may be secret: run it by hand to see them)",
			failed, complaints)
	}
	if failed != nil {
		return nil, failed
	}
	return data, nil
}

func openPipes(cmd *exec.Cmd) (pipes, error) {
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	stderr, err3 := cmd.StderrPipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		return pipes{}, fmt.Errorf("make pipes: %w", err)
	}
	return pipes{stdin: stdin, stdout: stdout, stderr: stderr}, nil
}

// follow waits until the program has ended and all its output is there, or until
// there is a reason not to wait any longer.
func (p program) follow(ctx context.Context, exited <-chan struct{}, out <-chan output) ([]byte, error) {
	var got output
	var grace <-chan time.Time
	for exited != nil || out != nil {
		select {
		case got = <-out:
			out = nil
			if got.err != nil {
				return nil, fmt.Errorf("read its standard output: %w", got.err)
			}
			if len(got.data) > maxReply {
				return nil, fmt.Errorf("it wrote more than %d bytes to its standard output", maxReply)
			}
		case <-exited:
			exited = nil
			grace = time.After(p.grace)
		case <-grace:
			if out != nil {
				return nil, fmt.Errorf("it ended, and something it left behind held its standard output open for %v", p.grace)
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return got.data, nil
}

// end kills what is left of the process group, waits for the program and closes
// the streams. Until it is waited for, the program keeps its number, so the
// group that is killed is its own.
func (p program) end(cmd *exec.Cmd, streams pipes, exited <-chan struct{}) error {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	select {
	case <-exited:
		return cmd.Wait()
	case <-time.After(p.grace):
	}
	// It hangs in the kernel. It is waited for when it comes back.
	_ = streams.stdin.Close()
	_ = streams.stdout.Close()
	_ = streams.stderr.Close()
	go func() { _ = cmd.Wait() }()
	return fmt.Errorf("it was killed and did not end within %v", p.grace)
}

// awaitExit returns once a child has ended, and leaves it to be waited for.
func awaitExit(pid int) {
	for {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
