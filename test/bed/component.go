package bed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"nodeagent.dev/nodeagent/test/bed/keeper"
)

// Component is one process of the bed that tests may disturb: etcd,
// kube-apiserver, kube-controller-manager, kube-scheduler, containerd, agent.
type Component struct {
	bed  *Bed
	name string
}

// Component returns the handle of a component, running or not.
func (b *Bed) Component(name string) *Component { return &Component{bed: b, name: name} }

// Name is the component's name.
func (c *Component) Name() string { return c.name }

// Kill ends the process with SIGKILL and returns when it was reaped.
func (c *Component) Kill(ctx context.Context) error { return c.end(ctx, syscall.SIGKILL) }

// Stop ends the process with SIGTERM and returns when it was reaped. A
// component that does not run is stopped already.
func (c *Component) Stop(ctx context.Context) error {
	if err := c.end(ctx, syscall.SIGTERM); err != nil && !errors.Is(err, keeper.ErrNotRunning) {
		return err
	}
	return nil
}

func (c *Component) end(ctx context.Context, signal syscall.Signal) error {
	if err := c.bed.keeper.Signal(ctx, c.name, signal); err != nil {
		return err
	}
	return c.bed.keeper.Wait(ctx, c.name)
}

// Signal sends any signal.
func (c *Component) Signal(ctx context.Context, signal syscall.Signal) error {
	return c.bed.keeper.Signal(ctx, c.name, signal)
}

// Pause stops the process with SIGSTOP; it keeps its connections.
func (c *Component) Pause(ctx context.Context) error { return c.Signal(ctx, syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (c *Component) Resume(ctx context.Context) error { return c.Signal(ctx, syscall.SIGCONT) }

// Wait returns when the process has ended.
func (c *Component) Wait(ctx context.Context) error { return c.bed.keeper.Wait(ctx, c.name) }

// Start starts the component and returns when it answers.
func (c *Component) Start(ctx context.Context) error {
	if err := c.launch(ctx); err != nil {
		return err
	}
	return c.WaitReady(ctx)
}

// Launch starts the component without waiting for it to answer.
func (c *Component) Launch(ctx context.Context) error { return c.launch(ctx) }

func (c *Component) launch(ctx context.Context) error {
	p, err := c.bed.process(c.name)
	if err != nil {
		return err
	}
	_, err = c.bed.keeper.Start(ctx, p)
	return err
}

// Restart stops the component and starts it again.
func (c *Component) Restart(ctx context.Context) error {
	if err := c.Stop(ctx); err != nil {
		return err
	}
	return c.Start(ctx)
}

// Status is what the keeper knows of the component.
func (c *Component) Status(ctx context.Context) (keeper.Status, error) {
	all, err := c.bed.keeper.Status(ctx)
	if err != nil {
		return keeper.Status{}, err
	}
	for _, s := range all {
		if s.Name == c.name {
			return s, nil
		}
	}
	return keeper.Status{Name: c.name}, nil
}

// PID is the process id, 0 when the component does not run.
func (c *Component) PID(ctx context.Context) (int, error) {
	s, err := c.Status(ctx)
	return s.PID, err
}

// LogPath is the file that takes the component's output over all its starts.
func (c *Component) LogPath() string { return c.bed.logPath(c.name) }

// Log is the component's whole output so far.
func (c *Component) Log() string {
	content, err := os.ReadFile(c.LogPath())
	if err != nil {
		return ""
	}
	return string(content)
}

// WaitReady returns when the component answers, and fails when its process
// ends before it does.
func (c *Component) WaitReady(ctx context.Context) error {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	check := c.bed.readiness(c.name)
	for n := 0; ; n++ {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if n%8 == 0 {
			if s, statusErr := c.Status(ctx); statusErr == nil && !s.Running {
				return fmt.Errorf("%s ended while it started (%s); the end of its log:\n%s", c.name, s.Exit, tail(c.Log(), 15))
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to answer: %w; last answer: %w; the end of its log:\n%s", c.name, ctx.Err(), err, tail(c.Log(), 15))
		case <-tick.C:
		}
	}
}

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
