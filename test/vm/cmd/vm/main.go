package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/vm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "vm:", err)
		}
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// run runs a node until ctx ends.
func run(ctx context.Context, args []string) error {
	set := flag.NewFlagSet("vm", flag.ContinueOnError)
	name := set.String("name", "vm", "the name of the bed that is the control plane")
	agent := set.String("agent", bed.Nodeagent, "nodeagent or kubelet")
	if err := set.Parse(args); err != nil {
		return err //nolint:wrapcheck // it was shown
	}
	n, err := vm.Up(ctx, vm.Options{Name: *name, Agent: *agent, Output: os.Stderr})
	if err != nil {
		return err
	}
	fmt.Printf(`
Node %[1]s runs %[2]s in a machine with cgroup v2 and systemd.
  %[3]s/kubectl --kubeconfig %[4]s get nodes,pods -A -o wide
  %[5]s
in there:
  journalctl -fu agent; systemctl restart agent; crictl ps; systemd-cgls
Ctrl-C ends the machine and the control plane.
`, n.Bed.NodeName, *agent, n.Bed.BinDir, n.Bed.Kubeconfig, n.Machine.ShellCommand())
	<-ctx.Done()
	return n.Close()
}
