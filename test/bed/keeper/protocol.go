package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// Process describes a component for the keeper to start.
type Process struct {
	// Name identifies the component in later requests.
	Name string `json:"name"`
	// Argv is the program's path and arguments.
	Argv []string `json:"argv"`
	// Env is the whole environment but for the mark, which is added.
	Env []string `json:"env,omitempty"`
	// Log is the file that takes the output, appended.
	Log string `json:"log"`
}

// Status is what the keeper knows of a component.
type Status struct {
	Name    string    `json:"name"`
	PID     int       `json:"pid,omitempty"`
	Running bool      `json:"running"`
	Exit    string    `json:"exit,omitempty"`
	Started time.Time `json:"started"`
	Log     string    `json:"log"`
}

// RegistryKnobs make the bed's registry misbehave.
type RegistryKnobs struct {
	// Username and Password, when set, are demanded from every client.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	// Delay passes before each answer.
	Delay time.Duration `json:"delay,omitempty"`
	// BytesPerSecond bounds the speed of each blob, 0 means unbounded.
	BytesPerSecond int `json:"bytesPerSecond,omitempty"`
	// FailStatus, when set, is the answer to reads whose path contains FailPath.
	FailStatus int    `json:"failStatus,omitempty"`
	FailPath   string `json:"failPath,omitempty"`
	// FailTimes bounds how many requests fail; 0 means all.
	FailTimes int `json:"failTimes,omitempty"`
}

const (
	opStart    = "start"
	opSignal   = "signal"
	opWait     = "wait"
	opStatus   = "status"
	opDetach   = "detach"
	opShutdown = "shutdown"
	opRegistry = "registry"
)

type request struct {
	Op       string         `json:"op"`
	Process  *Process       `json:"process,omitempty"`
	Name     string         `json:"name,omitempty"`
	Signal   syscall.Signal `json:"signal,omitempty"`
	Registry *RegistryKnobs `json:"registry,omitempty"`
}

type response struct {
	Error      string   `json:"error,omitempty"`
	NotRunning bool     `json:"notRunning,omitempty"`
	PID        int      `json:"pid,omitempty"`
	Statuses   []Status `json:"statuses,omitempty"`
	Leftovers  []string `json:"leftovers,omitempty"`
}

// ErrNotRunning says that a component has no process.
var ErrNotRunning = errors.New("not running")

// Client talks to the keeper of a bed through its control socket.
type Client struct{ socket string }

// NewClient returns a client for the keeper of the bed.
func NewClient(s *Spec) *Client { return &Client{socket: s.Socket()} }

// Alive reports whether a keeper answers.
func (c *Client) Alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := c.call(ctx, request{Op: opStatus})
	return err == nil
}

// Start starts a component and returns its process id.
func (c *Client) Start(ctx context.Context, p Process) (int, error) {
	r, err := c.call(ctx, request{Op: opStart, Process: &p})
	return r.PID, err
}

// Signal sends a signal to a component.
func (c *Client) Signal(ctx context.Context, name string, signal syscall.Signal) error {
	_, err := c.call(ctx, request{Op: opSignal, Name: name, Signal: signal})
	return err
}

// Wait returns when the component's process has ended and was reaped.
func (c *Client) Wait(ctx context.Context, name string) error {
	_, err := c.call(ctx, request{Op: opWait, Name: name})
	return err
}

// Status lists the components in the order of their first start.
func (c *Client) Status(ctx context.Context) ([]Status, error) {
	r, err := c.call(ctx, request{Op: opStatus})
	return r.Statuses, err
}

// Detach lets the bed live on when the connection of its starter closes.
func (c *Client) Detach(ctx context.Context) error {
	_, err := c.call(ctx, request{Op: opDetach})
	return err
}

// Registry changes the behaviour of the bed's registry.
func (c *Client) Registry(ctx context.Context, knobs RegistryKnobs) error {
	_, err := c.call(ctx, request{Op: opRegistry, Registry: &knobs})
	return err
}

// Shutdown tears the bed down and returns what could not be removed.
func (c *Client) Shutdown(ctx context.Context) ([]string, error) {
	r, err := c.call(ctx, request{Op: opShutdown})
	return r.Leftovers, err
}

func (c *Client) call(ctx context.Context, req request) (response, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return response{}, fmt.Errorf("reach the bed's keeper: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return response{}, fmt.Errorf("ask the bed's keeper to %s %s: %w", req.Op, req.Name, errors.Join(err, ctx.Err()))
	}
	var resp response
	if err := json.NewDecoder(conn).Decode(&resp); err != nil {
		return response{}, fmt.Errorf("hear from the bed's keeper about %s %s: %w", req.Op, req.Name, errors.Join(err, ctx.Err()))
	}
	switch {
	case resp.NotRunning:
		return resp, fmt.Errorf("%s %s: %w", req.Op, req.Name, ErrNotRunning)
	case resp.Error != "":
		return resp, fmt.Errorf("%s %s: %s", req.Op, req.Name, resp.Error)
	}
	return resp, nil
}
