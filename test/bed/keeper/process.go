package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// family starts processes and reaps them together with everything that was
// orphaned to this process. It alone waits for children.
type family struct {
	mu       sync.Mutex
	children map[int]*child
	order    []string
	members  map[string]*child
	closed   bool
}

type child struct {
	spec    Process
	pid     int
	handle  *os.Process
	started time.Time
	done    chan struct{}
	exit    unix.WaitStatus // valid once done is closed
}

func newFamily() *family {
	return &family{children: map[int]*child{}, members: map[string]*child{}}
}

// reap waits for children of any kind until ctx ends.
func (f *family) reap(ctx context.Context) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGCHLD)
	defer signal.Stop(signals)
	for {
		f.reapAll()
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
	}
}

func (f *family) reapAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if c := f.children[pid]; c != nil {
			c.exit = status
			delete(f.children, pid)
			_ = c.handle.Release()
			close(c.done)
		}
	}
}

// spawn starts a program; the lock keeps the reaper from missing its end.
func (f *family) spawn(p Process, output *os.File) (*child, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("open the null device: %w", err)
	}
	defer null.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	handle, err := os.StartProcess(p.Argv[0], p.Argv, &os.ProcAttr{
		Env: p.Env, Files: []*os.File{null, output, output}, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Argv[0], err)
	}
	c := &child{spec: p, pid: handle.Pid, handle: handle, started: time.Now(), done: make(chan struct{})}
	f.children[c.pid] = c
	return c, nil
}

// start starts a component, which must not be running.
func (f *family) start(p Process) (int, error) {
	f.mu.Lock()
	closed := f.closed
	f.mu.Unlock()
	if closed {
		return 0, errors.New("the bed is being torn down")
	}
	if f.running(p.Name) != nil {
		return 0, fmt.Errorf("%s is running already", p.Name)
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("open the log of %s: %w", p.Name, err)
	}
	defer log.Close()
	c, err := f.spawn(p, log)
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.members[p.Name]; !known {
		f.order = append(f.order, p.Name)
	}
	f.members[p.Name] = c
	return c.pid, nil
}

// tool runs a helper program to its end and returns what it printed.
func (f *family) tool(ctx context.Context, argv ...string) (string, error) {
	out, err := os.CreateTemp("", "bed-tool-")
	if err != nil {
		return "", fmt.Errorf("create a file for the output of %s: %w", argv[0], err)
	}
	defer os.Remove(out.Name())
	defer out.Close()
	c, err := f.spawn(Process{Argv: argv, Env: toolEnv()}, out)
	if err != nil {
		return "", err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		_ = unix.Kill(c.pid, unix.SIGKILL)
		<-c.done
	}
	content, err := os.ReadFile(out.Name())
	if err != nil {
		return "", fmt.Errorf("read the output of %s: %w", argv[0], err)
	}
	if c.exit.ExitStatus() != 0 {
		return "", fmt.Errorf("%s: %s: %s", strings.Join(argv, " "), describe(c.exit), strings.TrimSpace(string(content)))
	}
	return string(content), nil
}

func (f *family) member(name string) *child {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.members[name]
}

func (f *family) running(name string) *child {
	c := f.member(name)
	if c == nil {
		return nil
	}
	select {
	case <-c.done:
		return nil
	default:
		return c
	}
}

// signal sends a signal to a component; under the lock its process cannot be
// reaped, so the id is its own.
func (f *family) signal(name string, sig syscall.Signal) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.members[name]
	if c == nil || f.children[c.pid] != c {
		return ErrNotRunning
	}
	if err := unix.Kill(c.pid, sig); err != nil {
		return fmt.Errorf("send %s to %s (pid %d): %w", sig, name, c.pid, err)
	}
	return nil
}

func (f *family) statuses() []Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]Status, 0, len(f.order))
	for _, name := range f.order {
		c := f.members[name]
		s := Status{Name: name, Started: c.started, Log: c.spec.Log}
		if f.children[c.pid] == c {
			s.PID, s.Running = c.pid, true
		} else {
			s.Exit = describe(c.exit)
		}
		list = append(list, s)
	}
	return list
}

func describe(w unix.WaitStatus) string {
	if w.Signal() >= 0 { // -1 unless a signal ended it
		return "killed by " + w.Signal().String()
	}
	return fmt.Sprintf("exit status %d", w.ExitStatus())
}
