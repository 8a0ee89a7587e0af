package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/build"
	"nodeagent.dev/nodeagent/test/bed/images"
	"nodeagent.dev/nodeagent/test/bed/keeper"
)

const usage = `bed starts a node to try things on: real etcd, Kubernetes control plane, containerd
and runc on loopback, with nodeagent or the upstream kubelet as the node's agent.
It needs root. Everything is built from source once (about 10 minutes with two
processors) and kept in ~/.cache/nodeagent-bed (NODEAGENT_BED_CACHE).

Usage:
  bed build [--runtime-only]   build what is missing
  bed up    [flags]            start a bed; it stays until bed down
  bed down  [--name N | --all] stop a bed and remove everything it made, also
                               after its processes were killed
  bed status                   list beds and their processes
  bed logs  [COMPONENT]        show a component's log (agent, containerd, ...)
  bed shell-env                print what to evaluate in a shell to use the bed

Flags of up:
  --name N          the bed's name (default "bed"); several beds run side by side
  --agent A         nodeagent (default), kubelet or none
  --standalone      no control plane: the agent runs the pods of its manifest folder
  --agnhost         have the agnhost test image, too
  --usual-socket    the agent finds containerd at /run/containerd/containerd.sock, as
                    the upstream kubelet's cAdvisor wants it
  --audit           log every request to the API server

The other commands take --name, too.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bed:", err)
		}
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		fmt.Print(usage)
		return nil
	}
	commands := map[string]func(context.Context, []string) error{
		"build": runBuild, "up": runUp, "down": runDown, "status": runStatus, "logs": runLogs, "shell-env": runShellEnv,
		"keeper": runKeeper,
	}
	command := commands[args[0]]
	if command == nil {
		return fmt.Errorf("there is no command %q; see bed --help", args[0])
	}
	return command(ctx, args[1:])
}

func flags(name string) (*flag.FlagSet, *string) {
	set := flag.NewFlagSet("bed "+name, flag.ContinueOnError)
	set.Usage = func() { fmt.Fprint(set.Output(), usage) }
	return set, set.String("name", "bed", "the bed's name")
}

// parse refuses what is left over unless one argument is allowed.
func parse(set *flag.FlagSet, args []string, allowed int) error {
	if err := set.Parse(args); err != nil {
		return err
	}
	if set.NArg() > allowed {
		return fmt.Errorf("%s: do not know what to do with %q; see bed --help", set.Name(), set.Args())
	}
	return nil
}

func runBuild(ctx context.Context, args []string) error {
	set, _ := flags("build")
	runtimeOnly := set.Bool("runtime-only", false, "only what a standalone bed needs")
	if err := parse(set, args, 0); err != nil {
		return err
	}
	b, err := build.New(os.Stderr)
	if err != nil {
		return err
	}
	names := build.All()
	if *runtimeOnly {
		names = build.Runtime()
	}
	paths, err := b.Ensure(ctx, names...)
	if err != nil {
		return err
	}
	if _, err := images.Archives(ctx, b, !*runtimeOnly); err != nil {
		return err
	}
	for _, name := range names {
		fmt.Printf("%-26s %s\n", name, paths[name])
	}
	return nil
}

func runUp(ctx context.Context, args []string) error {
	set, name := flags("up")
	agent := set.String("agent", "", "nodeagent, kubelet or none")
	standalone := set.Bool("standalone", false, "no control plane")
	agnhost := set.Bool("agnhost", false, "import the agnhost image")
	usual := set.Bool("usual-socket", false, "containerd at its usual place for the agent")
	audit := set.Bool("audit", false, "log every request to the API server")
	if err := parse(set, args, 0); err != nil {
		return err
	}
	o := bed.Options{
		Name: *name, Agent: *agent, Standalone: *standalone, Agnhost: *agnhost, AuditLog: *audit, UsualSocket: *usual,
		Output: os.Stderr,
	}
	b, err := bed.New(ctx, o)
	if err != nil {
		return err
	}
	if err := b.Detach(ctx); err != nil {
		return errors.Join(err, b.Close())
	}
	printUse(b)
	return nil
}

func printUse(b *bed.Bed) {
	var s strings.Builder
	fmt.Fprintf(&s, "\nBed %s: node %s (%s), agent %s, everything below %s\n\nTo use it in this shell:\n", b.Name, b.NodeName, b.NodeIP, b.Agent(), b.Dir)
	for _, line := range shellEnv(b) {
		fmt.Fprintf(&s, "  %s\n", line)
	}
	if b.Kubeconfig != "" {
		s.WriteString("Try:\n  kubectl get nodes\n  kubectl run hello --image=busybox:1.37 --image-pull-policy=IfNotPresent -- sleep 1h\n")
	} else {
		fmt.Fprintf(&s, "Put manifests of pods into:\n  %s\n", b.ManifestDir)
	}
	fmt.Fprintf(&s, "  crictl ps\n  bed logs --name %s agent\nStop it, leaving nothing behind:\n  go run ./test/bed/cmd/bed down --name %s\n", b.Name, b.Name)
	fmt.Print(s.String())
}

func shellEnv(b *bed.Bed) []string {
	lines := []string{
		"export PATH=" + b.BinDir + ":$PATH",
		"export CRI_CONFIG_FILE=" + b.Dir + "/crictl.yaml",
	}
	if b.Kubeconfig != "" {
		lines = append(lines, "export KUBECONFIG="+b.Kubeconfig)
	}
	return lines
}

func runDown(ctx context.Context, args []string) error {
	set, name := flags("down")
	all := set.Bool("all", false, "stop every bed of this machine")
	if err := parse(set, args, 0); err != nil {
		return err
	}
	names := []string{*name}
	if *all {
		var err error
		if names, err = bed.Names(); err != nil {
			return err
		}
	}
	var errs []error
	for _, n := range names {
		if err := bed.Down(ctx, n); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Printf("bed %s is down, nothing of it is left\n", n)
	}
	return errors.Join(errs...)
}

func runStatus(ctx context.Context, args []string) error {
	set, _ := flags("status")
	if err := parse(set, args, 0); err != nil {
		return err
	}
	names, err := bed.Names()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		fmt.Println("no beds")
	}
	for _, name := range names {
		b, err := bed.Open(ctx, name)
		if err != nil {
			fmt.Printf("%s: %v\n", name, err)
			continue
		}
		fmt.Printf("%s: node %s (%s), %s\n", name, b.NodeName, b.NodeIP, b.Dir)
		list, err := b.Status(ctx)
		if err != nil {
			return err
		}
		for _, s := range list {
			state := fmt.Sprintf("pid %d", s.PID)
			if !s.Running {
				state = "ended: " + s.Exit
			}
			fmt.Printf("  %-26s %-24s since %s\n", s.Name, state, s.Started.Format("15:04:05"))
		}
	}
	return nil
}

func runLogs(ctx context.Context, args []string) error {
	set, name := flags("logs")
	if err := parse(set, args, 1); err != nil {
		return err
	}
	b, err := bed.Open(ctx, *name)
	if b == nil {
		return err
	}
	component := set.Arg(0)
	if component == "" {
		component = "agent"
	}
	f, err := os.Open(b.Component(component).LogPath())
	if err != nil {
		return fmt.Errorf("show the log of %s (components: agent, containerd, etcd, kube-apiserver, "+
			"kube-controller-manager, kube-scheduler, keeper): %w", component, err)
	}
	defer f.Close()
	if _, err := io.Copy(os.Stdout, f); err != nil {
		return fmt.Errorf("show the log of %s: %w", component, err)
	}
	return nil
}

func runShellEnv(ctx context.Context, args []string) error {
	set, name := flags("shell-env")
	if err := parse(set, args, 0); err != nil {
		return err
	}
	b, err := bed.Open(ctx, *name)
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(shellEnv(b), "\n"))
	return nil
}

// runKeeper is the keeper process; package bed starts it.
func runKeeper(_ context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("keeper is started by bed up and by tests, not by people")
	}
	// Signals are the keeper's own business, so not that of the given context.
	return keeper.Run(context.Background(), args[0])
}
