// Command nodeagent runs the pods of a Kubernetes node. It takes the kubelet's
// flags and configuration file; see --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"nodeagent.dev/nodeagent/internal/agent"
	"nodeagent.dev/nodeagent/internal/config"
)

// version is set when a release is built (-ldflags "-X main.version=...").
var version = "0.1.0-dev"

// kubernetesVersion is the release whose kubelet nodeagent replaces.
const kubernetesVersion = "v1.37.1"

// fullVersion is what the node reports as its kubeletVersion.
func fullVersion() string { return kubernetesVersion + "+nodeagent." + version }

// heapSample is how much is allocated between two samples of the heap's profile, in
// bytes. What Go's own 512 KiB has to remember is half a MiB after a minute, and more
// with time.
const heapSample = 2 << 20

func main() {
	if !strings.Contains(os.Getenv("GODEBUG"), "memprofilerate=") {
		runtime.MemProfileRate = heapSample
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "nodeagent:", err)
		stop()
		os.Exit(1)
	}
}

// run does what the arguments say.
func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		if args[0] == "help" {
			args = []string{"--help"}
		}
		if cmd, ok := commands[args[0]]; ok {
			return cmd(ctx, args[1:])
		}
	}
	cfg, err := config.Parse(args, config.Host())
	var help config.HelpRequest
	var ver config.VersionRequest
	switch {
	case errors.As(err, &help):
		fmt.Print(commandsHelp, help.Text)
		return nil
	case errors.As(err, &ver):
		return printVersion(ctx, nil)
	case err != nil:
		return fmt.Errorf("cannot start:\n%w", err)
	}
	return agent.Run(ctx, cfg, fullVersion())
}
