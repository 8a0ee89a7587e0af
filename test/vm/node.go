package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/build"
	"nodeagent.dev/nodeagent/test/vm/machine"
)

// startTimeout bounds the start of an agent in the machine, which is slow.
const startTimeout = 10 * time.Minute

// Options say what a node is like.
type Options struct {
	// Name is the bed's name; empty takes a random one.
	Name string
	// Agent is bed.Nodeagent or bed.Kubelet.
	Agent string
	// Config changes the KubeletConfiguration before it is written.
	Config func(config map[string]any)
	// Before is called in between: the machine is there as the agent will find it,
	// the agent is not started yet.
	Before func(ctx context.Context, n *Node) error
	// Output takes lines of progress.
	Output io.Writer
}

// Node is a node in a machine, and its control plane on the host.
type Node struct {
	// Bed is the control plane. It has a containerd, too, which nobody uses.
	Bed *bed.Bed
	// Machine is the node.
	Machine *machine.Machine
	// Agent is bed.Nodeagent or bed.Kubelet.
	Agent string

	dir       string
	health    string
	forwarder *forwarder
	progress  func(string, ...any)
}

// Up starts a control plane and a node, and returns when the node is ready. What
// is missing is built first.
func Up(ctx context.Context, o Options) (*Node, error) {
	builder, err := build.New(o.Output)
	if err != nil {
		return nil, err
	}
	program, err := agentProgram(ctx, builder, o.Agent)
	if err != nil {
		return nil, err
	}
	image, err := machine.NewImage(ctx, builder)
	if err != nil {
		return nil, err
	}
	n := &Node{Agent: o.Agent, progress: builder.Progress}
	builder.Progress("starting a control plane ...")
	n.Bed, err = bed.New(ctx, bed.Options{Name: o.Name, Agent: bed.NoAgent, Output: o.Output})
	if err != nil {
		return nil, err
	}
	if err := n.begin(ctx, image, o, program); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// agentProgram is what runs as the agent; empty is what the image has.
func agentProgram(ctx context.Context, b *build.Builder, agent string) (string, error) {
	switch {
	case agent == bed.Kubelet:
		return "", nil
	case agent != bed.Nodeagent:
		return "", fmt.Errorf("agent %q: known are %s and %s", agent, bed.Nodeagent, bed.Kubelet)
	case os.Getenv(bed.BinEnv) != "":
		return filepath.Abs(os.Getenv(bed.BinEnv)) //nolint:wrapcheck // cannot fail
	default:
		return b.Program(ctx, "./cmd/nodeagent", "nodeagent-vm", "-s -w -X main.version=0.0.0-vm")
	}
}

// begin resumes the machine and makes a node of it.
func (n *Node) begin(ctx context.Context, image machine.Image, o Options, program string) error {
	dir, err := os.MkdirTemp("", "nodeagent-vm-")
	if err != nil {
		return fmt.Errorf("create a folder for the machine: %w", err)
	}
	n.dir = dir
	api, err := portOf(n.Bed.AgentURL())
	if err != nil {
		return err
	}
	healthz, err := portOf(n.Bed.HealthzURL)
	if err != nil {
		return err
	}
	n.health = n.Bed.HealthzURL
	start := time.Now()
	if n.Machine, err = machine.Resume(ctx, image, machine.Options{Dir: dir, Ports: []int{api, healthz}}); err != nil {
		return err
	}
	if n.forwarder, err = forward(ctx, fmt.Sprintf("%s:%d", n.Bed.NodeIP, api), fmt.Sprintf("127.0.0.1:%d", api)); err != nil {
		return err
	}
	n.progress("  %-24s running after %s", "machine", time.Since(start).Round(10*time.Millisecond))
	files, err := n.files(o, api, healthz)
	if err != nil {
		return err
	}
	if program != "" {
		files = append(files, machine.File{Path: "/usr/local/bin/nodeagent", From: program, Mode: 0o755})
	}
	if err := n.Machine.Put(ctx, files...); err != nil {
		return err
	}
	if _, err := n.Machine.Run(ctx, "ip address add "+n.Bed.NodeIP+"/32 dev eth0"); err != nil {
		return err
	}
	if o.Before != nil {
		if err := o.Before(ctx, n); err != nil {
			return err
		}
	}
	if _, err := n.Machine.Run(ctx, "ln -sf "+o.Agent+" /usr/local/bin/agent && systemctl start agent"); err != nil {
		return err
	}
	if err := n.WaitReady(ctx); err != nil {
		return err
	}
	n.progress("  %-24s ready after %s", o.Agent, time.Since(start).Round(10*time.Millisecond))
	return nil
}

// WaitReady returns when the agent answers and the Node object says that the node
// is ready.
func (n *Node) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := n.waitHealthy(ctx); err != nil {
		return fmt.Errorf("%w; the end of the agent's log:\n%s", err, n.AgentLog(30))
	}
	if err := n.Bed.WaitNodeReady(ctx); err != nil {
		return fmt.Errorf("%w\nand in the machine:\n%s", err, n.AgentLog(30))
	}
	return nil
}

func (n *Node) waitHealthy(ctx context.Context) error {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		err := healthy(ctx, client, n.health)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the agent to answer: %w; last answer: %w", ctx.Err(), err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func healthy(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("check health: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("check health: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}

// AgentLog is the end of the agent's log.
func (n *Node) AgentLog(lines int) string {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	log, err := n.Machine.Run(ctx, "journalctl --no-pager -q -o cat -u agent -n "+strconv.Itoa(lines))
	if err != nil {
		return err.Error()
	}
	return log
}

// Close ends the machine and the control plane; nothing stays.
func (n *Node) Close() error {
	var errs []error
	if n.forwarder != nil {
		errs = append(errs, n.forwarder.Close())
	}
	if n.Machine != nil {
		errs = append(errs, n.Machine.Close())
	}
	if n.dir != "" {
		errs = append(errs, os.RemoveAll(n.dir))
	}
	return errors.Join(append(errs, n.Bed.Close())...)
}

func portOf(address string) (int, error) {
	u, err := url.Parse(address)
	if err != nil {
		return 0, fmt.Errorf("read an address of the bed: %w", err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		return 0, fmt.Errorf("read an address of the bed: %w", err)
	}
	return port, nil
}
