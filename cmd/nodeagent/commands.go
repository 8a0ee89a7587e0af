package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"nodeagent.dev/nodeagent/internal/agent/check"
	"nodeagent.dev/nodeagent/internal/agent/inspect"
	"nodeagent.dev/nodeagent/internal/config"
)

const defaultRootDir = "/var/lib/kubelet"

const commandsHelp = `nodeagent runs the pods of a Kubernetes node in place of the kubelet.

Usage:
  nodeagent [flags]              run the agent, with the kubelet's flags (below)
  nodeagent pods [-o wide|json]  show the pods of the running agent
  nodeagent why [NAMESPACE/]POD  show what happened to a pod and what it waits for
  nodeagent check [flags]        look at credentials, runtime and files; with the flags of the agent
  nodeagent version              print the version

pods and why ask the running agent over its socket (--root-dir tells which) and
work without an API server. check changes nothing and can run beside the agent.

`

// commands are what nodeagent does beside running the agent.
var commands = map[string]func(context.Context, []string) error{
	"check":   checkNode,
	"pods":    showPods,
	"why":     showWhy,
	"version": printVersion,
}

const checkHelp = `nodeagent check says in one line about each thing whether a node agent can work
with it: its configuration and root directory, the kubeconfig, the client
certificate, the bootstrap kubeconfig, the serving certificate, CAs, the API
server, the container runtime and its cgroup driver.

Usage:
  nodeagent check [flags]

Give it the flags that the agent is started with; it reads the same files in the
same way. It changes nothing, and can run beside the agent. Each line begins with

  ok        nothing to do
  warning   works, but not as it should or not for long; the line says what to do
  problem   keeps the node from working; the line says what to do

The exit code is 1 if there is a problem, else 0. Secrets are not printed. It asks
the API server and the runtime, and waits for each at most five seconds.

`

// checkNode prints what is right and wrong with the node.
func checkNode(ctx context.Context, args []string) error {
	cfg, err := config.Parse(args, config.Host())
	var help config.HelpRequest
	switch {
	case errors.As(err, &help):
		fmt.Print(checkHelp, help.Text)
		return nil
	case err != nil:
		return fmt.Errorf("problem with the configuration:\n%w", err)
	}
	problems, err := check.Run(ctx, cfg, os.Stdout)
	if err == nil && problems > 0 {
		err = fmt.Errorf("%d of these keep the node from working", problems)
	}
	return err
}

func printVersion(context.Context, []string) error {
	fmt.Println("Kubernetes", fullVersion())
	return nil
}

// query is what pods and why share: which agent to ask.
type query struct {
	flags     *pflag.FlagSet
	rootDir   string
	namespace string
	output    string
}

// parseQuery reads the flags of a subcommand; a nil error with no query means
// that help was asked for and given.
func parseQuery(name, usage string, args []string) (*query, error) {
	q := &query{flags: pflag.NewFlagSet(name, pflag.ContinueOnError)}
	q.flags.StringVar(&q.rootDir, "root-dir", defaultRootDir, "root directory of the agent to ask")
	q.flags.StringVarP(&q.namespace, "namespace", "n", "", "only pods of this namespace")
	q.flags.StringVarP(&q.output, "output", "o", "", "wide: containers and start-up times too; json: everything")
	q.flags.Usage = func() { fmt.Printf("Usage: nodeagent %s\n\n%s", usage, q.flags.FlagUsages()) }
	switch err := q.flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%w (see nodeagent %s --help)", err, name)
	}
	if q.output != "" && q.output != "wide" && q.output != "json" {
		return nil, fmt.Errorf("--output %q is neither wide nor json", q.output)
	}
	return q, nil
}

// pods asks the agent, and leaves out other namespaces.
func (q *query) pods(ctx context.Context) ([]inspect.Pod, error) {
	all, err := inspect.Pods(ctx, inspect.SocketPath(q.rootDir))
	if err != nil || q.namespace == "" {
		return all, err
	}
	kept := all[:0]
	for _, p := range all {
		if p.Namespace == q.namespace {
			kept = append(kept, p)
		}
	}
	return kept, nil
}

func showPods(ctx context.Context, args []string) error {
	q, err := parseQuery("pods", "pods [flags]", args)
	if q == nil {
		return err
	}
	if q.flags.NArg() > 0 {
		return fmt.Errorf("pods takes no argument, got %q; nodeagent why POD shows one pod", q.flags.Arg(0))
	}
	pods, err := q.pods(ctx)
	if err != nil {
		return err
	}
	if q.output == "json" {
		return printJSON(pods)
	}
	return inspect.Table(os.Stdout, pods, time.Now(), q.output == "wide")
}

func showWhy(ctx context.Context, args []string) error {
	q, err := parseQuery("why", "why [NAMESPACE/]POD [flags]", args)
	if q == nil {
		return err
	}
	if q.flags.NArg() != 1 {
		return errors.New("why takes one pod: nodeagent why [NAMESPACE/]POD")
	}
	name := q.flags.Arg(0)
	if ns, rest, ok := strings.Cut(name, "/"); ok {
		q.namespace, name = ns, rest
	}
	pods, err := q.pods(ctx)
	if err != nil {
		return err
	}
	found := false
	for i := range pods {
		if pods[i].Name != name && pods[i].UID != name {
			continue
		}
		found = true
		if q.output == "json" {
			if err := printJSON(pods[i]); err != nil {
				return err
			}
			continue
		}
		inspect.Why(os.Stdout, &pods[i], time.Now())
	}
	if !found {
		return fmt.Errorf("the agent has no pod %q; nodeagent pods lists those it has", q.flags.Arg(0))
	}
	return nil
}

func printJSON(v any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("printing JSON: %w", err)
	}
	return nil
}
